//! Which call of a tool a streamed part belongs to.
//!
//! The protocol numbers the calls of an answer; servers leave the number out, or give all of them
//! the same, and then an id or a name says that another call begins.

/// Calls of one answer that are told apart; parts of later ones count to the last.
const MAX_CALLS: usize = 256;

/// The calls of one answer so far.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug, Default)]
struct Call {
    index: Option<u32>,
    id: Option<String>,
    is_named: bool,
    /// It has got a part without a name, which its arguments are.
    has_arguments: bool,
}

impl Calls {
    /// Returns the number of the call, from 0, that a part with this index, id and name belongs to.
    pub(super) fn of_part(
        &mut self,
        index: Option<u32>,
        id: Option<&str>,
        name: Option<&str>,
    ) -> usize {
        let id = id.filter(|id| !id.is_empty());
        let is_named = name.is_some_and(|name| !name.is_empty());
        let goes_on = |call: &Call| {
            let is_other = id.is_some_and(|id| call.id.as_deref().is_some_and(|known| known != id));
            let begins_anew = is_named && call.is_named && call.has_arguments && index.is_none();
            !is_other && !begins_anew
        };
        let known = match index {
            Some(_) => self.0.iter().rposition(|call| call.index == index),
            None => self.0.len().checked_sub(1),
        };
        let known = known.filter(|at| self.0.get(*at).is_some_and(goes_on));
        let at = known.unwrap_or_else(|| {
            if self.0.len() < MAX_CALLS {
                self.0.push(Call {
                    index,
                    ..Call::default()
                });
            }
            self.0.len() - 1
        });
        if let Some(call) = self.0.get_mut(at) {
            if let (None, Some(id)) = (&call.id, id) {
                call.id = Some(id.to_owned());
            }
            call.has_arguments |= !is_named;
            call.is_named |= is_named;
        }
        at
    }

    /// Returns the number of the one call that an answer in the protocol's older form has.
    pub(super) fn of_the_older_form(&mut self) -> usize {
        self.of_part(Some(u32::MAX), None, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Part = (Option<u32>, Option<&'static str>, Option<&'static str>);

    fn calls(parts: &[Part]) -> Vec<usize> {
        let mut calls = Calls::default();
        let call = |(index, id, name): &Part| calls.of_part(*index, *id, *name);
        parts.iter().map(call).collect()
    }

    #[test]
    fn a_call_is_known_by_its_number_its_id_or_its_name() {
        let (a, b, f, g) = (Some("a"), Some("b"), Some("f"), Some("g"));
        // As the protocol has it, in any order, and with the id in every part.
        let parts = [
            (Some(0), a, f),
            (Some(0), None, None),
            (Some(1), b, f),
            (Some(0), a, None),
        ];
        assert_eq!(calls(&parts), [0, 0, 1, 0]);
        // All have the same number, or none.
        for index in [Some(0), None] {
            let parts = [
                (index, a, f),
                (index, None, None),
                (index, b, g),
                (index, b, None),
            ];
            assert_eq!(calls(&parts), [0, 0, 1, 1]);
        }
        // A name in two parts, arguments, another name.
        let parts = [
            (None, None, f),
            (None, None, g),
            (None, None, None),
            (None, None, f),
        ];
        assert_eq!(calls(&parts), [0, 0, 0, 1]);
        // A server that says the name with every part.
        assert_eq!(calls(&[(Some(0), None, f), (Some(0), None, f)]), [0, 0]);
        let many: Vec<Part> = (0..1_000).map(|index| (Some(index), None, f)).collect();
        assert_eq!(calls(&many).last(), Some(&(MAX_CALLS - 1)));
    }
}
