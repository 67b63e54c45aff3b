"""Generation on the real model: batches give what single prompts give, streams give what batches give."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Lfm2Config, LlamaConfig, MambaConfig, MistralConfig, RwkvConfig

from tunesmith.data.prepare import format_specs
from tunesmith.data.question import conversation_prompt
from tunesmith.modeling import generate as module
from tunesmith.modeling.generate import ModelVariant, Sampling, find_hidden_tokens, find_stop_tokens, generate, stream
from tunesmith.modeling.load import load_base_model
from tunesmith.sections import DataSection, Dataset, ModelSection

SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
SMALL = {"vocab_size": 49152, **SHAPE, **HEADS}
BASE = ModelSection(base_model="builtin/smollm2-135m-instruct")


@pytest.fixture(scope="module")
def variant():
    return ModelVariant("base", load_base_model(BASE, "float32").eval())


@pytest.fixture(scope="module")
def spec(tokenizer):
    dataset = Dataset(path="none.jsonl", type="chat_template")
    return format_specs([dataset], DataSection(datasets=[dataset]), BASE, tokenizer, "none.yml")[0]


@pytest.fixture(scope="module")
def prompts(spec, tokenizer):
    texts = ["Say hello.", "What is the capital of France? Answer in one word.", "Count to three."]
    return [conversation_prompt([{"role": "user", "content": text}], spec, tokenizer) for text in texts]


def test_the_end_tokens_hold_the_templates_turn_end(variant, tokenizer, spec):
    assert find_stop_tokens(variant.model, tokenizer, spec.template) == [tokenizer.convert_tokens_to_ids("<|im_end|>")]


def test_a_batch_answers_each_prompt_as_if_it_were_alone(variant, tokenizer, prompts):
    ends = [tokenizer.eos_token_id]
    sampling = Sampling(max_new_tokens=12)
    together = generate(variant, prompts, tokenizer, sampling, ends=ends, batch_size=3)
    alone = [generate(variant, [prompt], tokenizer, sampling, ends=ends, batch_size=1)[0] for prompt in prompts]
    assert together == alone
    assert "Paris" in together[1]
    assert not any("<|im_end|>" in answer for answer in together)


@pytest.mark.parametrize("plain", [module.PLAIN_LAYERS, ()], ids=["from what is kept", "from the start"])
def test_answers_that_have_ended_leave_the_batch_and_the_others_go_on(variant, tokenizer, prompts, monkeypatch, plain):
    ends, sampling = [tokenizer.convert_tokens_to_ids("<|im_end|>")], Sampling(max_new_tokens=30)
    whole = generate(variant, prompts, tokenizer, sampling, ends=ends, batch_size=3)
    monkeypatch.setattr(module, "STAGE", 7)
    monkeypatch.setattr(module, "PLAIN_LAYERS", plain)
    rows, done = [], []
    hook = variant.model.get_output_embeddings().register_forward_hook(lambda head, inputs, out: rows.append(len(out)))
    assert generate(variant, prompts, tokenizer, sampling, ends=ends, batch_size=3, advance=done.append) == whole
    hook.remove()
    lengths = sorted(len(tokenizer(answer).input_ids) for answer in whole)
    assert lengths[0] < 14 < lengths[-1]
    assert rows[:7] == [3] * 7
    assert (rows[-1] < 3) == bool(plain)
    assert (len(rows), sum(done)) == (min(lengths[-1] + 1, 30), 3)


@pytest.mark.parametrize(
    "config",
    [
        Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
        MambaConfig(vocab_size=49152, hidden_size=64, num_hidden_layers=2),
        MistralConfig(**SMALL, sliding_window=8),
    ],
    ids=lambda config: config.model_type,
)
def test_answers_leave_the_batch_of_models_that_keep_other_states_too(tokenizer, monkeypatch, config):
    torch.manual_seed(0)
    variant = ModelVariant("small", AutoModelForCausalLM.from_config(config).eval())
    prompts = [list(range(50, 50 + length)) for length in (5, 12, 20)]
    seen = []
    hook = variant.model.register_forward_hook(lambda *call: seen.append(call[-1].logits[:, -1].argmax(-1).tolist()))
    monkeypatch.setattr(module, "STAGE", 1000)
    generate(variant, prompts, tokenizer, Sampling(max_new_tokens=40), ends=[-1], batch_size=3)
    hook.remove()
    ends = [seen[5][0]]  # one answer ends here
    whole = generate(variant, prompts, tokenizer, Sampling(max_new_tokens=40), ends=ends, batch_size=3)
    assert len({len(answer) for answer in whole}) > 1
    monkeypatch.setattr(module, "STAGE", 7)
    assert generate(variant, prompts, tokenizer, Sampling(max_new_tokens=40), ends=ends, batch_size=3) == whole


def test_the_head_gets_the_states_of_a_batch_in_one_piece(variant, tokenizer, prompts):
    """Of a slice, torch would copy the head's weights for each row: gigabytes."""
    seen = []
    head = variant.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].is_contiguous()))
    generate(variant, prompts, tokenizer, Sampling(max_new_tokens=2), ends=[tokenizer.eos_token_id], batch_size=3)
    hook.remove()
    assert seen == [True, True]
    assert not head._forward_pre_hooks


def test_a_stream_is_the_same_answer_in_pieces(variant, tokenizer, prompts):
    ends = [tokenizer.eos_token_id]
    sampling = Sampling(max_new_tokens=12)
    pieces = list(stream(variant, prompts[2], tokenizer, sampling, ends=ends))
    assert len(pieces) > 3
    assert "".join(pieces) == generate(variant, [prompts[2]], tokenizer, sampling, ends=ends, batch_size=1)[0]


def test_closing_a_stream_stops_the_model(variant, tokenizer, prompts):
    answer = stream(variant, prompts[0], tokenizer, Sampling(max_new_tokens=100_000), ends=[-1])
    next(answer)
    answer.close()  # returns only once the model has stopped; 100,000 tokens would take an hour


def test_a_failure_while_streaming_reaches_the_reader(variant, tokenizer):
    with pytest.raises(IndexError):
        list(stream(variant, [10**9], tokenizer, Sampling(max_new_tokens=2), ends=[2]))


def test_sampling_is_repeatable_by_its_seed_and_differs_from_the_likeliest(variant, tokenizer, prompts):
    ends = [tokenizer.eos_token_id]

    def answer(**settings):
        return generate(
            variant, prompts[:1], tokenizer, Sampling(max_new_tokens=20, **settings), ends=ends, batch_size=1
        )

    assert answer(temperature=1.5, seed=1) == answer(temperature=1.5, seed=1)
    assert answer(temperature=1.5, seed=1) != answer(temperature=1.5, seed=2)
    assert answer() == answer(seed=7)


def test_an_adapter_is_silent_while_the_base_speaks(tokenizer, prompts):
    from tunesmith.modeling.adapters import new_adapter
    from tunesmith.sections import AdapterSection

    section = AdapterSection(adapter="lora", lora_r=4, lora_target_linear=True)
    model = new_adapter(load_base_model(BASE, "float32"), section, "float32").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    ends, sampling = [tokenizer.eos_token_id], Sampling(max_new_tokens=8)
    base, tuned = (
        generate(ModelVariant("v", model, adapter_off=off), prompts[1:2], tokenizer, sampling, ends=ends, batch_size=1)
        for off in (True, False)
    )
    assert "Paris" in base[0]
    assert tuned != base


def test_only_control_tokens_of_the_template_are_hidden(variant, tokenizer, spec, monkeypatch):
    hidden = find_hidden_tokens(tokenizer, spec.template)
    assert set(tokenizer.convert_ids_to_tokens(sorted(hidden))) == {"<|im_start|>", "<|im_end|>"}
    answer = tokenizer("<|im_start|><jupyter_code>x = 1<jupyter_output><|im_end|>").input_ids
    shown = "<jupyter_code>x = 1<jupyter_output>"
    assert module.decode_answer(answer, tokenizer, hidden) == shown
    streamer = module._AnswerStreamer(tokenizer, hidden)
    streamer.put(torch.tensor([[1, 2]]))  # the prompt
    for token in answer:
        streamer.put(torch.tensor([token]))
    streamer.end()
    assert "".join(streamer) == shown


@pytest.mark.parametrize(
    ("config", "is_batched"),
    [
        (LlamaConfig(**SMALL), True),
        (MambaConfig(vocab_size=49152, hidden_size=64, num_hidden_layers=2), True),
        (RwkvConfig(vocab_size=49152, hidden_size=64, num_hidden_layers=2), False),
    ],
    ids=["llama", "mamba", "rwkv"],
)
def test_a_model_that_sees_padding_answers_one_by_one(tokenizer, capsys, config, is_batched):
    torch.manual_seed(0)
    variant = ModelVariant("small", AutoModelForCausalLM.from_config(config).eval())
    prompts = [list(range(50, 50 + length)) for length in (3, 12, 30)]
    sampling = Sampling(max_new_tokens=8)
    together = generate(variant, prompts, tokenizer, sampling, ends=[-1], batch_size=3)
    alone = [generate(variant, [prompt], tokenizer, sampling, ends=[-1], batch_size=1)[0] for prompt in prompts]
    assert together == alone
    assert ("prompts are answered one by one" in capsys.readouterr().err) != is_batched
