"""Small random checkpoints in the genuine formats, and what transformers says of them.

    pip install torch 'transformers==4.51.3' gguf safetensors tokenizers
    python generate.py            # writes the folders beside this file
    python generate.py --minilm DIR  # writes minilm.json from the sentence-transformer in DIR

Weights are stored as float16, so that the files are small, and computed with in float32, which is what the engine does.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config,
    Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
)

HERE = pathlib.Path(__file__).parent
TEXT = (HERE / "generate.py").read_text()
VOCAB = 288
PROMPTS = ["def main", "Small random checkpoints", "déjà vu, 你好"]
SENTENCES = ["a small model", "random weights and what they say", "format", "the engine does what is stored in the files"]
TEMPLATE = (
    "{%- for tool in tools or [] %}<|tool|>{{ tool | tojson }}\n{% endfor %}"
    "{%- for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def word_tokenizer(folder):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator([" ".join(SENTENCES), TEXT.encode("ascii", "ignore").decode()], trainer)
    ids = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ids)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def rounded(model):
    """The values that the stored float16 have. Spread out, so that no two logits are nearly equal."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = p.dim() == 1 and name.endswith("weight")
            p.copy_(1 + 0.1 * torch.randn_like(p) if norm else 0.25 * torch.randn_like(p))
            p.copy_(p.half().float())
    return model.eval()


def reference(model, tokenizer, tokens=24):
    said = []
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt).ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
            full = model.generate(
                torch.tensor([ids]), max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0)
        said.append({
            "prompt": prompt, "ids": ids, "logits": [round(float(x), 5) for x in logits],
            "greedy": full[0, len(ids):].tolist(),
        })
    return said


def write(folder, model, said):
    model.half().save_pretrained(folder, safe_serialization=True)
    model.float()
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "reference.json").write_text(json.dumps(said))


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def causal(name, model):
    folder = fresh(name)
    tokenizer = byte_tokenizer(folder)
    model = rounded(model)
    write(folder, model, reference(model, tokenizer))
    return model, tokenizer


def gguf_of(name, model, tokenizer, arch, quantised):
    import gguf

    folder = fresh(name)
    byte_tokenizer(folder)
    c = model.config
    out = gguf.GGUFWriter(folder / "model.gguf", arch)
    out.add_context_length(c.max_position_embeddings)
    out.add_embedding_length(c.hidden_size)
    out.add_block_count(c.num_hidden_layers)
    out.add_feed_forward_length(c.intermediate_size)
    out.add_head_count(c.num_attention_heads)
    out.add_head_count_kv(c.num_key_value_heads)
    out.add_layer_norm_rms_eps(c.rms_norm_eps)
    out.add_rope_freq_base(c.rope_theta)
    out.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    out.add_eos_token_id(tokenizer.token_to_id("<|end|>"))
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    state = {k: v.detach().float() for k, v in model.state_dict().items()}
    back = {}
    for key, value in state.items():
        if key == "model.embed_tokens.weight":
            target = "token_embd.weight"
        elif key == "model.norm.weight":
            target = "output_norm.weight"
        elif key == "lm_head.weight":
            target = "output.weight"
        else:
            _, _, layer, *rest = key.split(".")
            target = f"blk.{layer}.{names['.'.join(rest[:-1])]}.{rest[-1]}"
        data = value.numpy()
        if quantised and value.dim() == 2:
            packed = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0)
            back[key] = torch.from_numpy(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0).copy())
        else:
            packed = None
        # llama.cpp stores the projections of Llama so that rotated pairs are neighbours.
        if arch == "llama" and target.split(".")[-2] in ("attn_q", "attn_k"):
            heads = c.num_attention_heads if "attn_q" in target else c.num_key_value_heads
            rows, *tail = data.shape
            data = data.reshape(heads, 2, rows // heads // 2, *tail).swapaxes(1, 2).reshape(rows, *tail)
            if packed is not None:
                packed = gguf.quants.quantize(np.ascontiguousarray(data), gguf.GGMLQuantizationType.Q8_0)
        if packed is not None:
            out.add_tensor(target, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            wide = value.dim() == 1
            out.add_tensor(target, np.ascontiguousarray(data.astype(np.float32 if wide else np.float16)))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    model.load_state_dict(back, strict=False)
    (folder / "reference.json").write_text(json.dumps(reference(model, tokenizer)))


def bert():
    folder = fresh("bert")
    tokenizer = word_tokenizer(folder)
    model = rounded(BertModel(BertConfig(
        vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64), add_pooling_layer=False))
    write(folder, model, [])
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{k}"}
               for i, (k, p) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "reference.json").write_text(json.dumps(embedded(model, tokenizer, SENTENCES)))


def embedded(model, tokenizer, sentences):
    said = []
    for sentence in sentences:
        ids = tokenizer.encode(sentence).ids
        with torch.no_grad():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        vector = torch.nn.functional.normalize(mean, dim=0)
        said.append({"text": sentence, "ids": ids, "vector": [round(float(x), 6) for x in vector]})
    return said


def minilm(folder):
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    (HERE / "minilm.json").write_text(json.dumps(embedded(model, tokenizer, sentences)))


def main():
    if sys.argv[1:2] == ["--minilm"]:
        return minilm(sys.argv[2])
    common = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                  max_position_embeddings=256)
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    eos = dict(eos_token_id=0, bos_token_id=None)
    causal("llama", LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, rope_scaling=scaling, **eos)))
    causal("qwen2", Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=2, **eos)))
    causal("qwen3", Qwen3ForCausalLM(Qwen3Config(
        **common, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, **eos)))
    causal("gpt2", GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=256, **eos)))
    bert()
    plain = rounded(LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, **eos)))
    folder = fresh("llama-gguf")
    tokenizer = byte_tokenizer(folder)
    gguf_of("llama-gguf", plain, tokenizer, "llama", quantised=False)
    gguf_of("llama-gguf-q8", plain, tokenizer, "llama", quantised=True)
    qwen = rounded(Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=2, **eos)))
    gguf_of("qwen2-gguf-q8", qwen, tokenizer, "qwen2", quantised=True)


main()
