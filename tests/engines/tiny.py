#!/usr/bin/env python3
"""Writes `tiny` into a folder: a Qwen3 of two layers with random weights, and a tokenizer for it.

    tiny.py FOLDER

Real engines load it as they load any model, and what they say with it has no meaning. The tokenizer
is byte-level BPE of 4,096 tokens: the 256 bytes, pairs and triples of letters, the marks of Qwen3's
thinking and tool calls, and three of ChatML. So a token is one to three characters, but for the marks,
and one in thirty is part of a character.

The same bytes each time. Python's standard library alone.
"""

import array
import json
import pathlib
import random
import string
import struct
import sys

VOCABULARY, WIDTH, INNER, LAYERS, HEADS, KEY_HEADS, HEAD_WIDTH = 4096, 64, 128, 2, 4, 2, 32
# As with Qwen3, the first of them are text, for parsers to find.
PLAIN_MARKS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
MARKS = [*PLAIN_MARKS, "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_letters():
    """Returns the letter by which byte-level BPE writes each byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


def tokenizer():
    letters = byte_letters()
    space, low = letters[ord(" ")], string.ascii_lowercase
    pairs = [(space, a) for a in low] + [(a, b) for a in low for b in low]
    triples = [(space + a, b + c) for b in low for c in low for a in low]
    merges = (pairs + triples)[: VOCABULARY - len(letters) - len(MARKS)]
    tokens = letters + [a + b for a, b in merges]
    marks = [
        {"id": len(tokens) + i, "content": mark, "special": mark not in PLAIN_MARKS}
        | dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
        for i, mark in enumerate(MARKS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    bpe = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(tokens)}, "merges": [f"{a} {b}" for a, b in merges],
    }
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": marks, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": bpe,
    }


def tensors():
    """Returns the name and the shape of each weight, and whether it scales."""
    yield "model.embed_tokens.weight", [VOCABULARY, WIDTH], False
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in ["input_layernorm", "post_attention_layernorm"]:
            yield f"{prefix}.{name}.weight", [WIDTH], True
        for name in ["q_norm", "k_norm"]:
            yield f"{prefix}.self_attn.{name}.weight", [HEAD_WIDTH], True
        yield f"{prefix}.self_attn.q_proj.weight", [HEADS * HEAD_WIDTH, WIDTH], False
        yield f"{prefix}.self_attn.k_proj.weight", [KEY_HEADS * HEAD_WIDTH, WIDTH], False
        yield f"{prefix}.self_attn.v_proj.weight", [KEY_HEADS * HEAD_WIDTH, WIDTH], False
        yield f"{prefix}.self_attn.o_proj.weight", [WIDTH, HEADS * HEAD_WIDTH], False
        yield f"{prefix}.mlp.gate_proj.weight", [INNER, WIDTH], False
        yield f"{prefix}.mlp.up_proj.weight", [INNER, WIDTH], False
        yield f"{prefix}.mlp.down_proj.weight", [WIDTH, INNER], False
    yield "model.norm.weight", [WIDTH], True


def weights():
    """Returns the file of the weights, in 32-bit floats."""
    chance, head, body = random.Random(0), {"__metadata__": {"format": "pt"}}, bytearray()
    for name, shape, is_scale in tensors():
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = array.array("f", [1.0] * size if is_scale else [chance.gauss(0, 0.05) for _ in range(size)])
        if sys.byteorder == "big":
            values.byteswap()
        start = len(body)
        body += values.tobytes()
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(body)]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    end = VOCABULARY - 1
    files = {
        "config.json": {
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": VOCABULARY,
            "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "head_dim": HEAD_WIDTH,
            "hidden_act": "silu", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "tie_word_embeddings": True,
            "use_sliding_window": False, "sliding_window": None, "max_window_layers": LAYERS,
            "torch_dtype": "float32", "bos_token_id": VOCABULARY - 3, "eos_token_id": end,
        },
        "generation_config.json": {"bos_token_id": VOCABULARY - 3, "eos_token_id": end},
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32768, "bos_token": None,
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": TEMPLATE,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights())
    print(f"wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
