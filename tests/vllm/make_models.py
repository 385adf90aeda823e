"""Makes what the suite serves: a tiny random Llama with a tokenizer, a chat template and two LoRA adapters.

Run by the Python that vLLM is installed in: `make_models.py FOLDER`. Nothing is downloaded: the tokenizer is trained on that Python's
own standard library, and the weights are drawn from a fixed seed.
"""

import pathlib
import sys
import sysconfig

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 4096
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer():
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    bpe.train_from_iterator((path.read_text(errors="replace") for path in sources), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


def llama():
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def adapter(base, folder):
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(base, config)
    tuned.save_pretrained(folder)
    tuned.unload()


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(7)
    tokenizer().save_pretrained(folder / "base")
    llama().save_pretrained(folder / "base")
    for name in ["red", "blue"]:
        adapter(LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16), folder / name)


main()
