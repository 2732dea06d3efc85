-- name: _statistics
-- purpose: the numbers of a definition, made of the rows that its file yields
-- input: definition_rows, definition_shape, runs
-- columns (unit): run, metric, stat, unit, value, note
-- notes: definition_rows is the file of one tool, which stands before this one as its first part
--   a row without a stat is a value of a latency; its note is said beside the numbers that come of it
--   a row of the rule `run` is a number of a whole run, with its note; throughput is what was completed, and its tokens, by duration, and has the note of output_tokens
--   any other row is a number that the tool has: lack says why there is none at all; value and note are what is said where there are no values
--   linear: of values of weight 1; percentiles are linear between neighbours, as numpy's; std is of the population
--   nearest: of values of weight 1; nearest rank, so each percentile is a value that occurred; those of weight 0 count in the mean alone
--   weighted: a percentile is the least value at which the weights, which add up to 1, reach its share; mean and std are by weight; a value has one row
--   all of it is one pass over the rows: for a second one the engine would plan the tool's part again
WITH ranked AS (
  SELECT
    *,
    sum(weight) OVER (PARTITION BY run, metric, weight > 0 ORDER BY value ROWS UNBOUNDED PRECEDING) AS reached,
    sum(weight) OVER (PARTITION BY run, metric, weight > 0) AS n,
    sum(value * weight) OVER (PARTITION BY run, metric, weight > 0) AS mean_by_weight
  FROM (SELECT * REPLACE (CAST(weight AS DOUBLE) AS weight) FROM definition_rows)
),
grouped AS (
  SELECT
    run, metric, stat,
    CASE max(rule) WHEN 'weighted' THEN max(mean_by_weight) ELSE avg(value) END AS mean,
    CASE max(rule)
      WHEN 'weighted' THEN sqrt(sum(power(value - mean_by_weight, 2) * weight))
      ELSE stddev_pop(value)
    END AS std,
    min(CASE WHEN weight > 0 THEN value END) AS min,
    CASE max(rule)
      WHEN 'weighted' THEN min(CASE WHEN reached >= 0.5 THEN value END)
      ELSE sum(value * CASE rule
        WHEN 'linear' THEN greatest(1 - abs(reached - 1 - 0.5 * (n - 1)), 0)
        WHEN 'nearest' THEN CASE WHEN weight > 0 AND reached = ceil(n * 50 / 100) THEN 1 END
      END)
    END AS p50,
    CASE max(rule)
      WHEN 'weighted' THEN min(CASE WHEN reached >= 0.9 THEN value END)
      ELSE sum(value * CASE rule
        WHEN 'linear' THEN greatest(1 - abs(reached - 1 - 0.9 * (n - 1)), 0)
        WHEN 'nearest' THEN CASE WHEN weight > 0 AND reached = ceil(n * 90 / 100) THEN 1 END
      END)
    END AS p90,
    CASE max(rule)
      WHEN 'weighted' THEN min(CASE WHEN reached >= 0.95 THEN value END)
      ELSE sum(value * CASE rule
        WHEN 'linear' THEN greatest(1 - abs(reached - 1 - 0.95 * (n - 1)), 0)
        WHEN 'nearest' THEN CASE WHEN weight > 0 AND reached = ceil(n * 95 / 100) THEN 1 END
      END)
    END AS p95,
    CASE max(rule)
      WHEN 'weighted' THEN min(CASE WHEN reached >= 0.99 THEN value END)
      ELSE sum(value * CASE rule
        WHEN 'linear' THEN greatest(1 - abs(reached - 1 - 0.99 * (n - 1)), 0)
        WHEN 'nearest' THEN CASE WHEN weight > 0 AND reached = ceil(n * 99 / 100) THEN 1 END
      END)
    END AS p99,
    max(CASE WHEN weight > 0 THEN value END) AS max,
    max(CASE WHEN rule = 'run' THEN value END) AS total,
    max(CASE WHEN rule IS NOT NULL THEN note END) AS note,
    max(lack) AS lack,
    max(CASE WHEN rule IS NULL THEN value END) AS value_without,
    max(CASE WHEN rule IS NULL THEN note END) AS note_without,
    count(*) FILTER (WHERE rule = 'run') AS totals
  FROM ranked
  GROUP BY run, metric, stat
),
gathered AS (
  SELECT
    run, metric, stat, lack, value_without, note_without, total,
    CASE stat
      WHEN 'mean' THEN max(CASE WHEN stat IS NULL THEN mean END) OVER of_metric
      WHEN 'std' THEN max(CASE WHEN stat IS NULL THEN std END) OVER of_metric
      WHEN 'min' THEN max(CASE WHEN stat IS NULL THEN min END) OVER of_metric
      WHEN 'p50' THEN max(CASE WHEN stat IS NULL THEN p50 END) OVER of_metric
      WHEN 'p90' THEN max(CASE WHEN stat IS NULL THEN p90 END) OVER of_metric
      WHEN 'p95' THEN max(CASE WHEN stat IS NULL THEN p95 END) OVER of_metric
      WHEN 'p99' THEN max(CASE WHEN stat IS NULL THEN p99 END) OVER of_metric
      WHEN 'max' THEN max(CASE WHEN stat IS NULL THEN max END) OVER of_metric
    END AS statistic,
    CASE
      WHEN metric IN ('output_throughput', 'total_throughput')
      THEN max(CASE WHEN metric = 'output_tokens' THEN note END) OVER of_run
      ELSE max(note) OVER of_metric
    END AS note,
    max(CASE WHEN metric = 'duration' THEN total END) OVER of_run AS duration,
    max(CASE WHEN metric = 'completed' THEN total END) OVER of_run AS completed,
    max(CASE WHEN metric = 'input_tokens' THEN total END) OVER of_run AS input_tokens,
    max(CASE WHEN metric = 'output_tokens' THEN total END) OVER of_run AS output_tokens,
    max(totals) OVER of_run > 0 AS has_requests
  FROM grouped
  WINDOW of_metric AS (PARTITION BY run, metric), of_run AS (PARTITION BY run)
),
numbers AS (
  SELECT
    run, metric, stat, lack, value_without, note_without, note, has_requests,
    coalesce(statistic, total, CASE metric
      WHEN 'request_throughput' THEN completed
      WHEN 'input_throughput' THEN input_tokens
      WHEN 'output_throughput' THEN output_tokens
      WHEN 'total_throughput' THEN input_tokens + output_tokens
    END / nullif(duration, 0)) AS value
  FROM gathered
  WHERE stat IS NOT NULL
)
SELECT
  n.run, n.metric, n.stat, f.unit,
  CASE WHEN n.has_requests AND n.lack IS NULL THEN coalesce(n.value, n.value_without) END AS value,
  CASE
    WHEN NOT n.has_requests THEN 'no requests'
    WHEN n.lack IS NOT NULL THEN n.lack
    WHEN n.value IS NULL THEN n.note_without
    ELSE n.note
  END AS note
FROM numbers n
JOIN runs r ON r.run = n.run
JOIN definition_shape f ON f.metric = n.metric AND f.stat = n.stat
ORDER BY r.run_index, f.place
