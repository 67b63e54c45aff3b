"""In which order and in which batches the rows of a run are seen, and which batches an epoch has."""

import pytest
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.data.pack import pack_in_order
from tunesmith.hardware import Hardware
from tunesmith.modeling.precision import Precision
from tunesmith.sections import DataSection, TrainingSection
from tunesmith.training.arguments import Schedule, training_arguments
from tunesmith.training.collate import FlatCollator, training_sequences
from tunesmith.training.trainer import TokenMeanTrainer

CPU = Hardware(kind="cpu", count=1, name="CPU", memory=2**34, bf16=True)
FP32 = Precision("float32", "float32", "float32", "")
SIZES = [3, 9, 4, 8, 5, 7, 6, 2, 9, 3, 8, 4, 7, 5, 6, 2, 3]
"""Tokens of the rows; the first token of row n is n."""


@pytest.fixture(scope="module")
def model():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))


@pytest.fixture
def batches(model, tmp_path):
    """`batches(epochs, **keys)` returns the rows of each batch of the last epoch, as the trainer loads them."""

    def load(epochs=1, copies=1, **keys):
        data_keys = {key: keys.pop(key) for key in list(keys) if key in DataSection.model_fields}
        data = DataSection(datasets=[{"path": "x"}], sequence_len=16, **data_keys)
        training = TrainingSection(learning_rate=1e-3, output_dir=str(tmp_path), **keys)
        rows = [{"input_ids": [n] * size, "labels": [n] * size} for n, size in enumerate(SIZES * copies)]
        in_order = data.curriculum_sampling
        schedule = Schedule(10, 10, 1)
        arguments = training_arguments(training, schedule, FP32, CPU, has_eval=False, in_order=in_order)
        trainer = TokenMeanTrainer(
            model=model,
            args=arguments,
            train_dataset=training_sequences(Dataset.from_list(rows), data),
            data_collator=FlatCollator(),
            training=training,
        )
        loader = trainer.get_train_dataloader()
        for epoch in range(epochs):
            loader.set_epoch(epoch)
            found = [list(dict.fromkeys(batch["input_ids"][0].tolist())) for batch in loader]
        return found

    return load


def rows_of(batches):
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("packed", [False, True])
def test_curriculum_takes_the_rows_in_their_order(batches, packed):
    found = batches(curriculum_sampling=True, sample_packing=packed, micro_batch_size=2)
    assert rows_of(found) == list(range(len(SIZES)))
    assert [len(batch) for batch in found[:-1]] == ([5, 5, 4] if packed else [2] * 8)


def test_otherwise_the_rows_are_shuffled_anew_each_epoch(batches):
    first, second = rows_of(batches()), rows_of(batches(epochs=2))
    assert sorted(first) == sorted(second) == list(range(len(SIZES)))
    assert len({tuple(first), tuple(second), tuple(range(len(SIZES)))}) == 3


def test_sequential_packing_keeps_neighbours_together(batches):
    found = batches(sample_packing=True, sample_packing_sequentially=True)
    expected = pack_in_order(SIZES, 16)
    assert sorted(found) == expected
    assert found != expected, "the packed rows are shuffled"
    assert sorted(map(sorted, batches(sample_packing=True))) != expected, "the other packing mixes them"


def test_rows_of_like_length_share_a_batch(batches):
    def spread(found):
        sizes = [[SIZES[row % len(SIZES)] for row in batch] for batch in found]
        return sum(max(batch) - min(batch) for batch in sizes)

    found = batches(group_by_length=True, micro_batch_size=3, copies=10)
    assert sorted(rows_of(found)) == list(range(len(SIZES) * 10))
    assert spread(found) < spread(batches(micro_batch_size=3, copies=10)) / 3


def test_the_order_by_length_depends_on_seed_and_epoch_alone(batches):
    keys = {"group_by_length": True, "micro_batch_size": 3, "copies": 10}
    first = batches(**keys)
    assert batches(**keys) == first
    assert batches(epochs=2, **keys) == batches(epochs=2, **keys) != first
    assert batches(seed=7, **keys) != first
    assert batches(seed=7, data_seed=42, **keys) == first


def test_data_seed_decides_the_order_alone(batches):
    first = batches()
    assert batches(seed=42, data_seed=7) != first
    assert batches(data_seed=7) == batches(data_seed=7)


def test_the_last_batch_is_left_out_if_it_is_not_full(batches):
    sizes = [len(batch) for batch in batches(micro_batch_size=3)]
    assert sizes == [3] * 5 + [2]
    assert [len(batch) for batch in batches(micro_batch_size=3, dataloader_drop_last=True)] == [3] * 5


def test_batches_are_loaded_as_the_keys_say(model, tmp_path):
    def loader(**keys):
        training = TrainingSection(learning_rate=1e-3, output_dir=str(tmp_path), **keys)
        arguments = training_arguments(training, Schedule(10, 10, 1), FP32, CPU, has_eval=False)
        rows = Dataset.from_list([{"input_ids": [1, 2], "labels": [1, 2]}] * 4)
        data = training_sequences(rows, DataSection(datasets=[{"path": "x"}]))
        return TokenMeanTrainer(
            model=model, args=arguments, train_dataset=data, training=training
        ).get_train_dataloader()

    plain, other = loader(), loader(dataloader_num_workers=2, dataloader_prefetch_factor=3)
    assert (plain.num_workers, plain.prefetch_factor) == (0, None)
    assert (other.num_workers, other.prefetch_factor) == (2, 3)
    dispatched = loader(accelerator_config={"dispatch_batches": True, "use_seedable_sampler": False})
    assert type(dispatched).__name__ == "DataLoaderDispatcher" != type(plain).__name__
