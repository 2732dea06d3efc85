//! The values of one metric of one run, by block of time.

/// On which scale a number varies evenly to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// By factors: times and rates.
    Log,
    /// By amounts: shares, and what may be 0.
    Plain,
}

impl Scale {
    pub(crate) fn place_of(self, value: f64) -> f64 {
        match self {
            Self::Log => value.ln(),
            Self::Plain => value,
        }
    }

    pub(crate) fn value_at(self, place: f64) -> f64 {
        match self {
            Self::Log => place.exp(),
            Self::Plain => place,
        }
    }
}

/// What one block of time brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    /// Sum of the values, or what a rate or a share counts.
    pub(crate) numerator: f64,
    /// Number of values, seconds, or what a share is of.
    pub(crate) denominator: f64,
    /// How many values lie in which bin, by rising bin; empty where there is no distribution.
    pub(crate) counts: Vec<(usize, f64)>,
}

/// The smallest and the largest value of a bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bin {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The blocks of one metric in their order in time, with the bins that they share.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Series {
    pub(crate) blocks: Vec<Block>,
    /// By rising value.
    pub(crate) bins: Vec<Bin>,
}

/// What is computed of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Statistic {
    /// Numerators by denominators: a mean, a rate, a share.
    Ratio,
    /// The value below which this share of the values lies, linear between neighbours.
    Quantile(f64),
}

impl Series {
    /// Joins each `by` neighbouring blocks into one.
    pub(crate) fn merged(&self, by: usize) -> Self {
        let blocks = self.blocks.chunks(by.max(1)).map(|part| {
            let mut counts: Vec<(usize, f64)> = part
                .iter()
                .flat_map(|block| block.counts.iter().copied())
                .collect();
            counts.sort_by_key(|(bin, _)| *bin);
            counts.dedup_by(|next, kept| {
                let is_same = next.0 == kept.0;
                if is_same {
                    kept.1 += next.1;
                }
                is_same
            });
            Block {
                numerator: part.iter().map(|block| block.numerator).sum(),
                denominator: part.iter().map(|block| block.denominator).sum(),
                counts,
            }
        });
        Self {
            blocks: blocks.collect(),
            bins: self.bins.clone(),
        }
    }

    /// The blocks in a stretch of their order.
    pub(crate) fn part(&self, places: std::ops::Range<usize>) -> Self {
        Self {
            blocks: self.blocks.get(places).unwrap_or_default().to_vec(),
            bins: self.bins.clone(),
        }
    }

    /// Number of blocks that say anything.
    pub(crate) fn filled(&self) -> usize {
        let filled = self.blocks.iter().filter(|block| block.denominator > 0.0);
        filled.count()
    }

    /// The statistics of a sample that has each block as often as `weights` says.
    pub(crate) fn statistics(
        &self,
        statistics: &[Statistic],
        weights: &[f64],
        scratch: &mut Vec<f64>,
    ) -> Vec<Option<f64>> {
        let weighted = || {
            let weighted = self.blocks.iter().zip(weights);
            weighted.filter(|(_, weight)| **weight > 0.0)
        };
        let (mut numerator, mut denominator) = (0.0, 0.0);
        for (block, weight) in weighted() {
            numerator += weight * block.numerator;
            denominator += weight * block.denominator;
        }
        let has_quantile = |statistic: &Statistic| matches!(statistic, Statistic::Quantile(_));
        scratch.clear();
        if statistics.iter().any(has_quantile) {
            scratch.resize(self.bins.len(), 0.0);
            for (block, weight) in weighted() {
                for (bin, count) in &block.counts {
                    scratch[*bin] += weight * count;
                }
            }
            // How many values lie in a bin or below it.
            let mut below = 0.0;
            for count in &mut *scratch {
                below += *count;
                *count = below;
            }
        }
        let one = |statistic: &Statistic| match statistic {
            Statistic::Ratio => (denominator > 0.0).then(|| numerator / denominator),
            Statistic::Quantile(share) => self.quantile(*share, scratch),
        };
        statistics.iter().map(one).collect()
    }

    /// One statistic over all blocks.
    pub(crate) fn value(&self, statistic: Statistic) -> Option<f64> {
        let ones = vec![1.0; self.blocks.len()];
        let values = self.statistics(&[statistic], &ones, &mut Vec::new());
        values.into_iter().next().flatten()
    }

    /// The quantile of values of which `up_to` lie in each bin or below it, spread evenly inside
    /// their bins.
    fn quantile(&self, share: f64, up_to: &[f64]) -> Option<f64> {
        let total = *up_to.last()?;
        if total < 1.0 {
            return None;
        }
        let rank = share * (total - 1.0);
        // The first bin that has a value at the rank or above it.
        let at = up_to.partition_point(|up_to| up_to - 1.0 < rank);
        let bin = self.bins.get(at)?;
        let before = if at > 0 { up_to[at - 1] } else { 0.0 };
        if rank < before {
            // Between the largest value of one bin and the smallest of this one.
            let last = up_to.partition_point(|up_to| *up_to < before);
            let high = self.bins[last].high;
            return Some(high + (bin.low - high) * (rank - (before - 1.0)));
        }
        let n = up_to[at] - before;
        let inside = if n > 1.0 {
            (rank - before) / (n - 1.0)
        } else {
            0.0
        };
        Some(bin.low + (bin.high - bin.low) * inside)
    }

    /// The strongest correlation of neighbouring blocks that one of the statistics shows.
    pub(crate) fn correlation(&self, statistics: &[Statistic]) -> f64 {
        statistics
            .iter()
            .filter_map(|statistic| {
                let value = self.value(*statistic)?;
                Some(lag_one(&self.scores(*statistic, value)))
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// From how many blocks the rarer side of a quantile comes, counting each by what it brings:
    /// the participation ratio, (sum x)^2 / sum x^2. A ratio of sums comes from all of them.
    pub(crate) fn effective_blocks_beyond(&self, statistic: Statistic) -> f64 {
        let Statistic::Quantile(share) = statistic else {
            return f64::INFINITY;
        };
        let Some(value) = self.value(statistic) else {
            return 0.0;
        };
        let beyond = self.blocks.iter().map(|block| {
            if share >= 0.5 {
                let above = block.counts.iter();
                above
                    .map(|(bin, n)| n * self.bins[*bin].share_from(value))
                    .sum()
            } else {
                block.denominator - self.above(block, value)
            }
        });
        let (sum, squares) = beyond.fold((0.0, 0.0), |(sum, squares), x: f64| {
            (sum + x, squares + x * x)
        });
        if squares > 0.0 {
            sum * sum / squares
        } else {
            0.0
        }
    }

    /// How each block scores at the statistic, whose value over all of them is `value`: the
    /// influence of its values, up to a factor that all blocks share.
    pub(crate) fn scores(&self, statistic: Statistic, value: f64) -> Vec<f64> {
        let pull = |block: &Block| match statistic {
            Statistic::Ratio => block.numerator - value * block.denominator,
            Statistic::Quantile(share) => {
                self.above(block, value) - (1.0 - share) * block.denominator
            }
        };
        self.blocks.iter().map(pull).collect()
    }

    /// How each block scores at the statistic itself: on a [`Scale::Log`] by which share a mean or a
    /// rate would change, on a [`Scale::Plain`] by how much; at a quantile by which share of all
    /// values would cross it. `None` where the statistic has no value.
    pub(crate) fn influences(&self, statistic: Statistic, scale: Scale) -> Option<Vec<f64>> {
        let value = self.value(statistic)?;
        let (numerator, denominator) = self.sums();
        let by = match (statistic, scale) {
            (Statistic::Ratio, Scale::Log) => numerator,
            _ => denominator,
        };
        let scores = self.scores(statistic, value);
        (by > 0.0).then(|| scores.iter().map(|pull| pull / by).collect())
    }

    /// The numerators and the denominators of all blocks.
    pub(crate) fn sums(&self) -> (f64, f64) {
        self.blocks
            .iter()
            .fold((0.0, 0.0), |(numerator, denominator), block| {
                (numerator + block.numerator, denominator + block.denominator)
            })
    }

    /// How many values of a block lie above `value`.
    fn above(&self, block: &Block, value: f64) -> f64 {
        let above = block.counts.iter();
        above
            .map(|(bin, n)| n * self.bins[*bin].share_above(value))
            .sum()
    }
}

impl Bin {
    /// Share of the bin's values at `value` or above it, were they spread evenly.
    fn share_from(self, value: f64) -> f64 {
        if value <= self.low {
            1.0
        } else {
            self.share_above(value)
        }
    }

    /// Share of the bin's values above `value`, were they spread evenly.
    fn share_above(self, value: f64) -> f64 {
        if value < self.low {
            1.0
        } else if value >= self.high {
            0.0
        } else {
            (self.high - value) / (self.high - self.low)
        }
    }
}

/// The correlation of neighbours, 0 where nothing varies.
pub(super) fn lag_one(scores: &[f64]) -> f64 {
    let mean = scores.iter().sum::<f64>() / count(scores.len().max(1));
    let centred: Vec<f64> = scores.iter().map(|pull| pull - mean).collect();
    let square: f64 = centred.iter().map(|pull| pull * pull).sum();
    let neighbours: f64 = centred.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if square > 0.0 {
        neighbours / square
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of blocks or samples")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}
