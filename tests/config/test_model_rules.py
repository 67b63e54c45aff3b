"""Rules across keys about what is loaded and what trains: each message holds both values and the cure."""

import pytest
import yaml

from tunesmith.config.load import load
from tunesmith.config.yaml_source import flow
from tunesmith.errors import ConfigError

BASE = {"base_model": "x", "datasets": [{"path": "d.jsonl", "type": "alpaca"}], "learning_rate": 1e-3}
LORA = {"adapter": "lora", "lora_r": 8, "lora_target_linear": True}
QLORA = LORA | {"adapter": "qlora", "load_in_4bit": True}
RELORA = LORA | {"relora": True, "jagged_restart_steps": 100}
LIGER, CUT = "axolotl.integrations.liger.LigerPlugin", "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"


def checked(folder, **keys):
    file = folder / "c.yml"
    file.write_text(yaml.safe_dump(BASE | keys))
    return load(str(file))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"attn_implementation": "flash"}, "`attn_implementation: flash` is unknown; known are sdpa, eager, flash_att"),
        ({"attn_implementation": "spda"}, "did you mean `sdpa`?"),
        (
            {"model_type": "AutoModelForSequenceClassification"},
            "`type_of_model: AutoModelForSequenceClassification` is not a causal language model; remove it, or name",
        ),
        ({"experts_implementation": "grouped"}, "`experts_implementation: grouped` is unknown; known are eager, batch"),
        ({"float16": True, "bf16": True}, "`float16: true` and `bf16: true`: use only one"),
        ({"float16": True, "fp16": True}, "`float16: true` and `fp16: true`: use only one"),
        (
            LORA | {"reinit_weights": True},
            "`reinit_weights: true` and `adapter: lora`: use only one; random weights are not saved with an adapter",
        ),
        (QLORA | {"model_quantization_config": "Mxfp4Config"}, "`model_quantization_config: Mxfp4Config` and `load_in"),
        ({"plugins": ["axolotl.integrations.spectrum.SpectrumPlugin"]}, "name them yourself in `unfrozen_parameters`"),
        ({"plugins": ["a.LigerPlugn"]}, "plugin `LigerPlugn` is not supported; those that are: LigerPlugin"),
        (
            {"plugins": [LIGER, CUT], "liger_fused_linear_cross_entropy": True},
            "`liger_fused_linear_cross_entropy: true` and `cut_cross_entropy: true`: use only one",
        ),
        (
            {"plugins": [LIGER], "liger_cross_entropy": True, "liger_fused_linear_cross_entropy": True},
            "`liger_cross_entropy: true` and `liger_fused_linear_cross_entropy: true`: use only one",
        ),
        (QLORA | {"peft_init_lora_weights": "pissa"}, "`pissa` changes the base weights, which `load_in_4bit: true`"),
        (QLORA | {"peft": {"loftq_config": {"loftq_bits": 4}}}, "`loftq` changes the base weights"),
        (
            LORA | {"lora_target_parameters": ["mlp.experts.down_proj"], "lora_dropout": 0.1},
            "`lora_dropout: 0.1` and `lora_target_parameters: [mlp.experts.down_proj]`: use only one; bare",
        ),
        (
            LORA | {"peft_layers_pattern": ["layers"]},
            "`peft_layers_pattern: [layers]` needs `peft_layers_to_transform`",
        ),
        (
            {"adapter": "lora", "lora_r": 8, "lora_target_modules": ".*q_proj", "peft_layers_to_transform": [1]},
            "`peft_layers_to_transform` needs a list, not `lora_target_modules: .*q_proj`; or name the blocks in",
        ),
        (
            LORA | {"lisa_n_layers": 1, "lisa_step_interval": 2},
            "`lisa_n_layers: 1` and `adapter: lora`: use only one; an adapter freezes all other weights",
        ),
        (
            {"unfrozen_parameters": ["lm_head"], "lisa_n_layers": 1, "lisa_step_interval": 2},
            "`lisa_n_layers: 1` and `unfrozen_parameters: [lm_head]`: use only one",
        ),
        (
            {"unfrozen_parameters": ["lm_head.weight$[:10]"], "weight_decay": 0.1},
            "`weight_decay: 0.1` would also shrink the rows outside `lm_head.weight$[:10]`; set `weight_decay: 0`",
        ),
        ({"lisa_n_layers": 4}, "`lisa_n_layers: 4` needs `lisa_step_interval`"),
        ({"lisa_step_interval": 4}, "`lisa_step_interval: 4` needs `lisa_n_layers`"),
        ({"relora": True, "jagged_restart_steps": 100}, "`relora: true` needs `adapter`"),
        (LORA | {"relora": True}, "`relora: true` needs `jagged_restart_steps`"),
        (
            RELORA | {"peft_use_dora": True},
            "`peft_use_dora: true` and `relora: true`: use only one; ReLoRA merges plain low-rank updates",
        ),
        (
            RELORA | {"lora_modules_to_save": ["lm_head"]},
            "`lora_modules_to_save: [lm_head]` and `relora: true`: use only one; ReLoRA merges plain low-rank updates",
        ),
        (RELORA | {"peft_init_lora_weights": "gaussian"}, "`peft_init_lora_weights: gaussian` and `relora: true`:"),
        (
            RELORA | {"load_best_model_at_end": True, "val_set_size": 0.1},
            "`relora: true` and `load_best_model_at_end: true`",
        ),
        (LORA | {"peft_layer_replication": [[0, 2]]}, "so the adapter cannot be merged"),
    ],
)
def test_keys_that_do_not_go_together(tmp_path, keys, words):
    with pytest.raises(ConfigError) as caught:
        checked(tmp_path, **keys)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"attn_implementation": "kernels-community/flash-attn3"},
        {"model_type": "GPT2LMHeadModel"},
        {"model_type": "Llama4ForConditionalGeneration"},
        {"unfrozen_parameters": ["model.layers.4[4-9]+.mlp"], "weight_decay": 0.1},
        {"unfrozen_parameters": ["lm_head.weight$[:10]"]},
        {"plugins": [LIGER, CUT], "liger_rope": True},
        {"plugins": [LIGER, CUT], "liger_fused_linear_cross_entropy": True, "cut_cross_entropy": False},
        {"adapter": "lora", "lora_r": 8, "lora_target_parameters": ["mlp.experts.down_proj"]},
        RELORA,
    ],
)
def test_keys_that_do(tmp_path, keys):
    checked(tmp_path, **keys)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {"model_config": {"output_router_logits": True}},
            {"overrides_of_model_config": {"output_router_logits": True}},
        ),
        ({"model_kwargs": {"use_cache": False}}, {"overrides_of_model_kwargs": {"use_cache": False}}),
        ({"model_type": "LlamaForCausalLM"}, {"type_of_model": "LlamaForCausalLM"}),
        ({"model_revision": "v1"}, {"revision_of_model": "v1"}),
        ({"float32": True}, {"bf16": False}),
        ({"liger_swiglu": True}, {"liger_glu_activation": True}),
        ({"flex_attention": True}, {"attn_implementation": "flex_attention"}),
        ({"sage_attention": True}, {"attn_implementation": "sage"}),
    ],
)
def test_old_names(tmp_path, old, new):
    config = checked(tmp_path, **old)
    ((key, value),) = new.items()
    assert getattr(config.model, key) == value
    assert any(f"is taken as `{key}: {flow(value)}`" in note for note in config.notes)


def test_the_keys_of_relora_before_2025(tmp_path):
    config = checked(tmp_path, **LORA, relora_steps=150, relora_warmup_steps=10)
    assert config.adapter.relora
    assert (config.training.jagged_restart_steps, config.training.jagged_restart_warmup_steps) == (150, 10)


def test_ids_of_added_tokens_are_numbers(tmp_path):
    assert checked(tmp_path, added_tokens_overrides={128011: "<|tool|>"}).model.added_tokens_overrides == {
        128011: "<|tool|>"
    }
