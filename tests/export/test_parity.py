"""What an artifact's outputs may differ by from the detector's."""

import numpy as np
import pytest

from keras_lodin.export.parity import Recorded, check

THRESHOLD = 0.5
SCORES = np.array([0.1, 0.4, 0.6, 0.9], "float32")


def p_values(scores):
    return np.float32(1 + (scores[:, None] >= SCORES).sum(axis=1)) / np.float32(5)


class Reference:
    """What gives outputs and p-values, and is moved by no rounding error."""

    def __init__(self, given):
        self._given = given
        self.p_values = p_values

    def __call__(self, batch):
        return self._given

    def known(self, batch):
        return self._given

    def noisy(self, batch):
        return iter(())


def outputs(scores=SCORES, **others):
    return {
        "logits": np.stack([scores, 1.0 - scores], axis=-1),
        "score": scores,
        "is_ood": scores < THRESHOLD,
        "p_value": p_values(scores),
        **others,
    }


def checked(actual):
    return check(Reference(outputs()), lambda batch: actual, np.zeros((4, 2)), THRESHOLD)


def test_the_same_outputs_agree_and_so_do_those_of_another_rounding():
    assert checked(outputs())["score"] == 0.0
    assert checked(outputs(scores=SCORES * np.float32(1.0 + 1e-7)))["score"] < 1e-6


@pytest.mark.parametrize("place", range(4))
def test_one_verdict_that_differs_where_the_scores_agree_is_a_disagreement(place):
    verdicts = SCORES < THRESHOLD
    verdicts[place] = not verdicts[place]
    with pytest.raises(ValueError, match="`is_ood` differs from the detector's"):
        checked(outputs(is_ood=verdicts))


def test_a_verdict_on_the_threshold_itself_may_be_either():
    scores = np.append(SCORES, np.float32(THRESHOLD))
    either = [outputs(scores), outputs(scores, is_ood=scores <= THRESHOLD)]
    check(Reference(either[0]), lambda batch: either[1], np.zeros((5, 2)), THRESHOLD)


def test_p_values_are_those_of_the_artifacts_own_scores():
    lower = outputs(np.nextafter(SCORES, np.float32(0.0)))
    assert (lower["p_value"] < outputs()["p_value"]).all()
    checked(lower)
    # The quotient may be rounded another way, and no more.
    checked(outputs(p_value=outputs()["p_value"] * np.float32(1.0 - 1e-7)))
    for wrong in (outputs()["p_value"] + 0.2, lower["p_value"], np.full(4, np.nan)):
        with pytest.raises(ValueError, match=r"`p_value` differs .*Received: .*instead of"):
            checked(outputs(p_value=wrong))


def test_an_output_too_few_or_of_another_shape_is_named():
    with pytest.raises(ValueError, match="must have the outputs"):
        checked({name: value for name, value in outputs().items() if name != "score"})
    with pytest.raises(ValueError, match=r"artifact's score must have the shape \(4,\)"):
        checked(outputs(score=SCORES[:3]))


def test_outputs_that_another_backend_gave_are_compared_within_the_same_tolerances():
    batch = np.zeros((4, 2))

    def differences(recorded):
        others = Recorded("jax", [(batch, recorded)])
        return others.check(Reference(outputs()), lambda batch: outputs(), THRESHOLD)

    # What it gave beside, such as a gradient that the artifact has no more, is left out.
    assert differences(outputs(gradient=batch))[0]["score"] == 0.0
    assert 0.0 < differences(outputs(scores=SCORES * np.float32(1.0 + 1e-6)))[0]["score"] < 1e-5
    with pytest.raises(ValueError, match="disagrees with the detector on the backend that exports"):
        differences(outputs(scores=SCORES + np.float32(0.01)))
    with pytest.raises(ValueError, match=r"must be finite .* Received: logits with 8 of 8"):
        differences(outputs(scores=SCORES * np.float32("nan")))
