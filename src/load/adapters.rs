//! Which LoRA adapter a request asks for: its name stands in the place of the model's.

use crate::draw::{Draw, field};
use crate::plan::LoraAssignment;

/// Names of adapters, one of which each request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adapters {
    /// The names; where there are none, requests ask for the model.
    pub names: Vec<String>,
    /// Which of them a request asks for.
    pub assignment: LoraAssignment,
    /// Seed of the choice.
    pub seed: u64,
}

impl Adapters {
    /// Returns the name that request number `index` asks for.
    pub(super) fn of(&self, index: u64) -> Option<&str> {
        let count = self.names.len() as u64;
        if count == 0 {
            return None;
        }
        let place = match self.assignment {
            LoraAssignment::Random => Draw::new(self.seed, index, field::ADAPTER).below(count),
            LoraAssignment::RoundRobin => index % count,
        };
        let name = self.names.get(usize::try_from(place).ok()?)?;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_adapter_has_its_turn_or_its_share() {
        let adapters = |assignment| Adapters {
            names: ["a", "b", "c"].map(str::to_owned).to_vec(),
            assignment,
            seed: 1,
        };
        let in_turn = adapters(LoraAssignment::RoundRobin);
        let names: Vec<_> = (0..4).filter_map(|index| in_turn.of(index)).collect();
        assert_eq!(names, ["a", "b", "c", "a"]);
        let drawn = adapters(LoraAssignment::Random);
        let of_a = (0..3_000).filter(|index| drawn.of(*index) == Some("a"));
        let of_a = of_a.count();
        assert!((900..1_100).contains(&of_a), "{of_a}");
        assert_eq!(Adapters::default().of(0), None);
    }
}
