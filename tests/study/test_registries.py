"""The names that the study keeps without importing torch are those of the registries."""

from robustfl.data import label_noise
from robustfl.execution import run
from robustfl.selection import validation, weights
from robustfl.study import run_spec
from robustfl.training import embeddings, resnet


def test_names_beside_the_spec_are_the_registries_keys():
    assert set(run_spec.MODELS) == set(resnet.MODELS)
    assert set(run_spec.UPDATE_RULES) == set(run.UPDATE_RULES)
    assert set(run_spec.NOISES) == {"none", *label_noise.NOISES}


def test_choices_of_a_field_are_those_of_the_code_that_reads_it():
    assert set(run_spec.EMBEDDINGS) == {*embeddings.EMBEDDINGS, "forgetting"}
    assert set(run_spec.UNITS) == set(weights.UNITS)
    assert set(run_spec.WEIGHTS) >= set(validation.WEIGHTS)
