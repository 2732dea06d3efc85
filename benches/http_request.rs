//! As much of HTTP as the servers of the benches need to find the end of a request.

/// Returns the lengths of a request's head and of all of it, once the head is whole.
pub(crate) fn extent(bytes: &[u8]) -> Option<(usize, usize)> {
    let head_end = 4 + bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let body = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    Some((head_end, head_end + body))
}
