//! Short names of servers: addresses without what they share.

/// Returns the names of addresses, in their order: without the scheme that all have, and without the
/// end of the path that all have. Addresses that differ have names that differ.
pub(crate) fn short_names(addresses: &[&str]) -> Vec<String> {
    let all: Vec<Parts<'_>> = addresses.iter().map(|text| Parts::of(text)).collect();
    let mut pairs = all.windows(2);
    let has_one_scheme = pairs.all(|pair| pair[0].scheme == pair[1].scheme);
    let shared = shared_ends(&all);
    all.iter()
        .map(|parts| {
            let scheme = if has_one_scheme { "" } else { parts.scheme };
            let own = &parts.path[..parts.path.len() - shared];
            let path: String = own.iter().map(|step| format!("/{step}")).collect();
            format!("{scheme}{}{path}", parts.host)
        })
        .collect()
}

/// The parts of an address.
struct Parts<'a> {
    /// With what stands between it and the host.
    scheme: &'a str,
    /// With the port.
    host: &'a str,
    /// The steps of the path; the last one has the query too.
    path: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(address: &'a str) -> Self {
        const MARK: &str = "://";
        let at = address.find(MARK).map_or(0, |at| at + MARK.len());
        let (scheme, rest) = address.split_at(at);
        let mut steps = rest.split('/');
        Self {
            scheme,
            host: steps.next().unwrap_or_default(),
            path: steps.collect(),
        }
    }
}

/// How many last steps of the path all addresses have alike.
fn shared_ends(all: &[Parts<'_>]) -> usize {
    let Some(first) = all.first() else { return 0 };
    let is_shared = |back: usize| {
        let of_first = first.path.iter().rev().nth(back);
        all.iter()
            .all(|parts| parts.path.iter().rev().nth(back) == of_first)
    };
    let most = all.iter().map(|parts| parts.path.len()).min();
    (0..most.unwrap_or(0))
        .take_while(|back| is_shared(*back))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_keep_what_tells_them_apart() {
        assert_eq!(
            short_names(&[
                "http://10.0.0.1:8000/v1/chat/completions",
                "http://10.0.0.1:8001/v1/chat/completions"
            ]),
            ["10.0.0.1:8000", "10.0.0.1:8001"]
        );
        assert_eq!(
            short_names(&[
                "http://gate/a/v1/completions",
                "http://gate/b/v1/completions"
            ]),
            ["gate/a", "gate/b"]
        );
        assert_eq!(
            short_names(&["http://h:1/v1/x?k=1", "https://h:1/v1/x?k=2"]),
            ["http://h:1/v1/x?k=1", "https://h:1/v1/x?k=2"]
        );
        assert_eq!(
            short_names(&["http://h/v1/x", "http://h/a/v1/x", "http://h/v1/x"]),
            ["h", "h/a", "h"]
        );
        assert_eq!(short_names(&["http://h:1/v1/x"]), ["h:1"]);
        assert_eq!(short_names(&["gpu-0", ""]), ["gpu-0", ""]);
        assert_eq!(short_names(&[]), [""; 0]);
    }
}
