#!/usr/bin/env python3
"""Writes a Whisper of two layers with random weights into a folder, with its tokenizer and what reads audio.

    whisper.py FOLDER

Real engines load it as they load any Whisper, and what it hears has no meaning. The tokenizer has the
256 bytes and the pairs of letters of `tiny`, and the marks of a Whisper. Text is made likely and the end
is not, as in a trained one, so that answers go on to their limit.

Needs torch and transformers, which the environment of an engine has.
"""

import pathlib
import sys

import tiny
import torch
from tokenizers import AddedToken
from transformers import (
    GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

TEXTS, END, START = 2048, "<|endoftext|>", "<|startoftranscript|>"
TASKS = ["translate", "transcribe"]
MARKS = [
    START, *[f"<|{language}|>" for language in LANGUAGES], *[f"<|{task}|>" for task in TASKS], "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]


def tokenizer():
    bpe = tiny.tokenizer()["model"]
    vocabulary = {token: i for token, i in bpe["vocab"].items() if i < TEXTS}
    merges = [tuple(merge.split(" ")) for merge in bpe["merges"]]
    merges = [(a, b) for a, b in merges if a + b in vocabulary]
    made = WhisperTokenizer(vocab=vocabulary, merges=merges)
    made.add_special_tokens({"additional_special_tokens": MARKS})
    made.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", special=False) for i in range(1501)])
    return made


def model(size, number):
    """Returns a model for so many tokens, of which `number` tells those of the marks."""
    torch.manual_seed(0)
    ends = dict.fromkeys(["bos_token_id", "eos_token_id", "pad_token_id"], number(END))
    ends["decoder_start_token_id"] = number(START)
    made = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=size, num_mel_bins=80, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=128, decoder_ffn_dim=128, max_source_positions=1500,
        max_target_positions=448, init_std=0.3, suppress_tokens=None, begin_suppress_tokens=None, **ends,
    ))
    with torch.no_grad():
        # One dimension is large in every state, and the rows of texts and of marks differ in it.
        decoder = made.model.decoder
        decoder.layer_norm.bias[0] = 8.0
        decoder.embed_tokens.weight[:TEXTS, 0] = 0.5
        decoder.embed_tokens.weight[TEXTS:, 0] = -3.0
    made.generation_config = GenerationConfig(
        max_length=448, is_multilingual=True, no_timestamps_token_id=number("<|notimestamps|>"),
        lang_to_id={f"<|{language}|>": number(f"<|{language}|>") for language in LANGUAGES},
        task_to_id={task: number(f"<|{task}|>") for task in TASKS}, **ends,
    )
    return made


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1])
    words = tokenizer()
    WhisperProcessor(feature_extractor=WhisperFeatureExtractor(), tokenizer=words).save_pretrained(folder)
    model(len(words), words.convert_tokens_to_ids).save_pretrained(folder)
    print(f"wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
