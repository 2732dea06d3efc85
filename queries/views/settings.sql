-- name: settings
-- purpose: what an analysis was asked to judge by, on one row
-- input: tape_settings
-- columns (unit): stall_ns (ns, a longer gap is a stall), reader_tps (tokens/s, the reader's speed), price_input (money per million tokens), price_output (money per million tokens), gpu_hour (money per GPU and hour), gpus (GPUs), blocks (blocks, that a window is cut into)
-- notes: null where nothing was said, but for blocks, which is a constant; money has the unit that it was given in
SELECT * FROM tape_settings
