"""Candidates: names that tell them apart, and prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin.workflows.sweeps import Candidate

# Those that go together: only the softmax has a temperature, and only estimators that draw draws.
FORMS = [("softmax", 1.0), ("softmax", 1000.0), ("logits", 1.0), ("pooled", 1.0)]
ESTIMATORS = [("exact", 1), ("projected", 1), ("projected", 2)]
candidates = st.builds(
    lambda form, estimator, **settings: Candidate(
        form=form[0],
        temperature=form[1],
        estimator=estimator[0],
        samples=estimator[1],
        **settings,
    ),
    form=st.sampled_from(FORMS),
    estimator=st.sampled_from(ESTIMATORS),
    gq_weight=st.sampled_from([0.0, -1.0, 1e-6, 0.1]),
    every=st.sampled_from([1, 4]),
    loss=st.sampled_from(["cross_entropy", "logit_norm:0.04", "logit_norm:0.1"]),
    gradient_penalty=st.sampled_from([0.0, 0.1]),
)


def matters(candidate):
    """What makes a difference to the training."""
    gq = candidate.gq_weight and (
        *(candidate.gq_weight, candidate.form, candidate.estimator, candidate.samples),
        *(candidate.every, candidate.temperature),
    )
    return gq, candidate.loss, candidate.gradient_penalty


@given(candidates, candidates)
def test_names_and_folders_are_the_same_for_the_same_training_alone(first, second):
    same = matters(first) == matters(second)
    assert (first.name == second.name) == same
    assert (first.folder == second.folder) == same


@given(candidates)
def test_a_name_says_everything(candidate):
    assert matters(Candidate.parse(candidate.name)) == matters(candidate)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gq logits 1",
        "gq logits sampled",
        "gq logits sampled one",
        "logit_nrm:0.1",
        "gradient_penalty",
        "gq logits exact 1 + gq softmax exact 1",
        "label_smoothing:0.1 + logit_norm:0.1",
        "label_smoothing:often",
        "gq logits sampled 1 every 0",
        "gq logits sampled:0 1",
        "gq logits exact:2 1",
        "gq softmax(T=0) exact 1",
        "gq logits(T=10) exact 1",
        "gq pooled sampled 1",
        "gq logits exact 1e400",
        "gradient_penalty -1",
    ],
)
def test_text_that_names_no_training_is_refused(text):
    with pytest.raises(ValueError, match="Received: "):
        Candidate.parse(text)


def test_names_are_what_a_reader_expects():
    assert Candidate().name == "off"
    assert Candidate(loss="logit_norm:0.04").name == "logit_norm:0.04"
    smoothed = Candidate(
        gq_weight=-1.0, form="logits", estimator="projected", loss="label_smoothing:0.1"
    )
    assert smoothed.name == "label_smoothing:0.1 + gq logits projected -1"
    long = "gq logits exact 0.5 every 2 norm l2 chunk_size 3"
    assert Candidate.parse(long).name == long
    tempered = Candidate(gq_weight=1.0, estimator="sampled", samples=2, every=4, temperature=1000.0)
    assert tempered.name == "gq softmax(T=1000) sampled:2 1 every 4"


def test_costs_are_those_of_the_table_of_estimators():
    def gq(form, estimator, samples=1, every=1):
        return Candidate(
            gq_weight=1.0, form=form, estimator=estimator, samples=samples, every=every
        ).cost(10)

    assert Candidate().cost(10) == Candidate(loss="logit_norm").cost(10) == 1.0
    assert Candidate(gradient_penalty=0.1).cost(10) == 2.0
    assert (gq("softmax", "exact"), gq("logits", "exact"), gq("pooled", "exact")) == (10, 11, 3)
    assert (gq("softmax", "sampled", 2), gq("logits", "sampled", 2)) == (5, 4)
    assert gq("softmax", "projected") == 2.0
    assert gq("softmax", "exact", every=3) == 4.0
