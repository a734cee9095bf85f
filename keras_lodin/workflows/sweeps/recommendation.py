"""The rule that says which way to train, or to leave things as they are.

Fixed in docs/study.md before the study was run, and used by the study and by `keras-lodin sweep`
alike. It sees in-distribution validation data and made-up out-of-distribution data, never a test
set: a candidate must not cost accuracy, and must separate the two better than plain training with
the same seeds, by more than chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from keras_lodin.metrics.over_seeds import Spread, paired_difference

# In fractions: half a point of accuracy.
ACCURACY_ALLOWANCE = 0.005
# Of one short training with one seed, whose accuracy is uncertain by more than that.
SCREENING_ALLOWANCE = 0.02


@dataclass(frozen=True)
class Recommendation:
    """What the rule says.

    Attributes:
        choice: name of the way to train; the control's where nothing is better.
        separation: name -> paired difference to the control of the mean validation AUROC.
        accuracy: name -> paired difference to the control of the ID validation accuracy.
        reason: one sentence.
    """

    choice: str
    separation: dict[str, Spread]
    accuracy: dict[str, Spread]
    reason: str

    def admits(self, name: str, allowance: float = ACCURACY_ALLOWANCE) -> bool:
        """Whether a candidate costs no more accuracy than is allowed."""
        # A rounding error must not decide.
        return self.accuracy[name].mean >= -allowance - 1e-12


def recommend(
    separation: Mapping[str, Mapping[int, float]],
    accuracy: Mapping[str, Mapping[int, float]],
    control: str = "off",
) -> Recommendation:
    """Chooses among ways to train that ran with the same seeds.

    Of the candidates whose mean accuracy is at most half a point below the control's, the one with
    the largest mean gain in separation is taken, if the 95 % t-interval of that gain, paired by
    seed, lies above zero. Otherwise the choice is the control.

    Args:
        separation: name -> seed -> mean AUROC over the validation OOD sets, a fraction.
        accuracy: name -> seed -> accuracy on the ID validation data, a fraction.
        control: name of plain training.

    Returns:
        a `Recommendation`.

    Raises:
        ValueError: if the control is missing, or the two mappings name different candidates.
    """
    if control not in separation or separation.keys() != accuracy.keys():
        raise ValueError(
            "The rule needs the separation and the accuracy of the same candidates, the control "
            f"among them. Received: {sorted(separation)} and {sorted(accuracy)}, "
            f"control={control!r}"
        )
    names = [name for name in separation if name != control]
    gains = {name: paired_difference(separation[name], separation[control]) for name in names}
    losses = {name: paired_difference(accuracy[name], accuracy[control]) for name in names}
    undecided = Recommendation(control, gains, losses, "There was nothing to compare with.")
    if not names:
        return undecided
    admitted = [name for name in names if undecided.admits(name)]
    choice, reason = _choose(admitted, gains, control)
    return replace(undecided, choice=choice, reason=reason)


def _choose(admitted: list[str], gains: Mapping[str, Spread], control: str) -> tuple[str, str]:
    if not admitted:
        return control, (
            f"Every candidate cost more than {100 * ACCURACY_ALLOWANCE:g} points of accuracy."
        )
    best = max(admitted, key=lambda name: gains[name].mean)
    gain = gains[best]
    if gain.interval is None:
        return control, f"{best} led by {100 * gain.mean:+.2f} points, on a single seed: no basis."
    low, high = (100 * bound for bound in gain.interval)
    interval = f"{100 * gain.mean:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})"
    if low > 0.0:
        return best, f"Its validation AUROC is above plain training's by {interval}."
    return control, f"The best candidate, {best}, changed the validation AUROC by {interval}."
