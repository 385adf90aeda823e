"""A GGUF file's tokenizer and chat template, as the files that models.yaml names.

    python tests/sdk/gguf_tokenizer.py MODEL.gguf FOLDER

writes tokenizer.json, tokenizer_config.json and, where the model has one, chat_template.jinja. It reads the file's
header alone. It knows byte-level BPE with the pre-tokenizers that are listed here; for any other model, take the
files that its maker publishes.
"""

import json
import struct
import sys
from pathlib import Path

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9
CONTROL, USER_DEFINED = 3, 4  # of `tokenizer.ggml.token_type`

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PRE_TOKENIZERS = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
}


def metadata(path):
    """The header's keys and values."""
    with open(path, "rb") as file:

        def scalar(form):
            size = struct.calcsize("<" + form)
            return struct.unpack("<" + form, file.read(size))[0]

        def text():
            return file.read(scalar("Q")).decode()

        def value(kind):
            if kind == TEXT:
                return text()
            if kind == LIST:
                inner, length = scalar("I"), scalar("Q")
                return [value(inner) for _ in range(length)]
            return scalar(SCALARS[kind])

        if file.read(4) != b"GGUF":
            raise SystemExit(f"{path} is not a GGUF file")
        version, _tensors, pairs = scalar("I"), scalar("Q"), scalar("Q")
        if version < 2:
            raise SystemExit(f"{path} is of GGUF version {version}, which is not read here")
        return {text(): value(scalar("I")) for _ in range(pairs)}


def tokenizer(meta):
    """The tokenizer.json."""
    model, pre = meta["tokenizer.ggml.model"], meta.get("tokenizer.ggml.pre", "gpt-2")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        raise SystemExit(f"a tokenizer of kind {model}, {pre} is not known here")
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": kind == CONTROL}
        for number, (token, kind) in enumerate(zip(tokens, kinds)) if kind in (CONTROL, USER_DEFINED)
    ]
    begins = None
    if meta.get("tokenizer.ggml.add_bos_token"):
        number = meta["tokenizer.ggml.bos_token_id"]
        begins = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": tokens[number], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {tokens[number]: {"id": tokens[number], "ids": [number], "tokens": [tokens[number]]}},
        }
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[pre], "post_processor": begins,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in meta["tokenizer.ggml.merges"]],
        },
    }


def special_tokens(meta):
    """What a tokenizer_config.json says of the special tokens."""
    tokens = meta["tokenizer.ggml.tokens"]
    named = {name: meta.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    return {f"{name}_token": None if number is None else tokens[number] for name, number in named.items()}


def write(gguf, folder):
    """Writes the files, and says where the folder is."""
    meta, folder = metadata(gguf), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(meta), ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(json.dumps(special_tokens(meta)))
    if "tokenizer.chat_template" in meta:
        (folder / "chat_template.jinja").write_text(meta["tokenizer.chat_template"])
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(write(sys.argv[1], sys.argv[2]))
