"""One against two replicas: the same examples give the same update."""

import subprocess
import sys

import pytest

PROGRAM = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import tfnes
from tfnes.estimators import *

images = np.random.default_rng(0).integers(0, 2, (3, 6, 8)).astype(np.float32)

def train(estimator, replicas):
    if replicas > 1:
        strategy = tf.distribute.MirroredStrategy(
            [f"CPU:{i}" for i in range(replicas)],
            cross_device_ops=tf.distribute.ReductionToOneDevice())
    else:
        strategy = tf.distribute.get_strategy()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = tfnes.models.MLP(hidden_units=4, input_size=8)
        model.compile(keras.optimizers.Adam(1e-2), estimator)
    data = tf.data.Dataset.from_tensor_slices({"image": images.reshape(18, 8)})
    history = model.fit(data.batch(6), epochs=2, verbose=0).history
    state = [v.numpy() for v in [*model.trainable_variables, *estimator.variables]]
    return state, history["neg_elbo"]

for make in (
    lambda: REINFORCE(control_variate=BatchMean()),
    lambda: REINFORCE(control_variate=LeaveOneOut(3)),
    lambda: NVIL(hidden_units=(4,)),
):
    (one, loss), (two, losses) = train(make(), 1), train(make(), 2)
    name = type(make()).__name__
    np.testing.assert_allclose(losses, loss, rtol=1e-4, err_msg=name)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-2, atol=2e-4, err_msg=name)
print("the same")
"""


@pytest.mark.filterwarnings("default")
def test_replicas_share_the_examples_of_an_update():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines()[-1:] == ["the same"], done.stderr[-3000:]
