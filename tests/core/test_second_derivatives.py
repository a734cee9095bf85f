"""What trains is the derivative of what is logged: every layer of Keras, in training mode.

The oracle is finite differences of the logits in float64 (`layer_table.SecondDerivative`), which
need no gradient of anybody's.
"""

import keras
import pytest
from keras import layers

from tests.core import layer_table, outer_gradient

pytestmark = pytest.mark.usefixtures("_double_precision")


@pytest.fixture
def _double_precision():
    with outer_gradient.double_precision():
        yield


MOMENTS = [name for name in layer_table.TABLE if "ormalization" in name or "moments" in name]
OTHERS = [name for name in layer_table.TABLE if name not in MOMENTS]
# In forward mode the statistics of the batch count as constant: see the test below.
BATCH_STATISTICS = [name for name in MOMENTS if "BatchNorm" in name]


def check(name, derivative):
    measured = layer_table.SecondDerivative(name)
    expected = measured.by_differences()
    tolerance = 0.02 if name in layer_table.SINGLE_PRECISION else 1e-4
    assert measured.by(derivative) == pytest.approx(expected, rel=tolerance, abs=tolerance / 10)


@pytest.mark.slow_on("jax")
@pytest.mark.grid(8)
@pytest.mark.parametrize("name", MOMENTS)
def test_second_derivatives_go_through_means_and_variances(name):
    check(name, layer_table.backwards)


@pytest.mark.slow_on("jax")
@pytest.mark.grid(6)
@pytest.mark.parametrize("name", [name for name in MOMENTS if name not in BATCH_STATISTICS])
def test_second_derivatives_in_forward_mode_go_through_means_and_variances(name):
    check(name, layer_table.forwards)


@pytest.mark.slow_on("jax")
@pytest.mark.grid(40)
@pytest.mark.parametrize("name", OTHERS)
def test_second_derivatives_are_those_of_finite_differences(name):
    check(name, layer_table.backwards)


@pytest.mark.slow_on("jax")
@pytest.mark.grid(40)
@pytest.mark.parametrize("name", OTHERS)
def test_second_derivatives_in_forward_mode_are_those_of_finite_differences(name):
    check(name, layer_table.forwards)


@pytest.mark.slow_on("jax", "tensorflow")
@pytest.mark.parametrize("derivative", [layer_table.backwards, layer_table.forwards])
@pytest.mark.parametrize("name", layer_table.MENDED)
def test_what_pytorch_gets_wrong_is_right(name, derivative):
    check(name, derivative)


@pytest.mark.slow_on("jax")
@pytest.mark.grid(3)
@pytest.mark.parametrize("name", [name for name in BATCH_STATISTICS if "renorm" not in name])
def test_in_forward_mode_the_value_may_hold_statistics_but_its_derivative_does_not(name):
    """The value takes the batch's statistics for constant; the weights still move them."""
    measured = layer_table.SecondDerivative(name)
    assert measured.by(layer_table.forwards) == pytest.approx(
        measured.slope_of(layer_table.forwards), rel=1e-3, abs=1e-4
    )


def test_every_layer_and_activation_is_in_the_table_or_named_with_the_reason():
    known = {name.split(" ")[0] for name in layer_table.TABLE} | set(layer_table.LEFT_OUT)
    aliases = {
        name
        for name in dir(layers)
        if any(
            getattr(layers, other, None) is getattr(layers, name)
            for other in known
            if other != name
        )
    }
    public = {name for name in dir(layers) if isinstance(getattr(layers, name), type)}
    if keras.__version__ > layer_table.CHECKED_WITH:
        pytest.skip(f"Keras {keras.__version__} may have layers that nobody has looked at")
    assert public - known - aliases == set()
