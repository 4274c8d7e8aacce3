# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     name: python3
# ---

# %% [markdown]
# # A structure of your own: paths through a landscape
#
# A traveler crosses a landscape from left to right along the cheapest path. We see the
# landscape and blurred footprints, but neither the path nor what water, sand, grass
# and rock cost. The path is the latent; its solver is fifteen lines of NumPy, which
# nobody can differentiate. NES learns the costs from the footprints through it.

# %%
import keras
import numpy as np
import tensorflow as tf
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

import tfnes

NUM_MAPS = 200
EPOCHS = 30
TERRAINS = ("water", "sand", "grass", "rock")
SIZE = (6, 10)

# %% [markdown]
# ## The solver
#
# A structure is a set of 0/1 arrays, here the paths with one cell in each column, that
# move by at most one row from column to column. Its solver takes the scores of all
# cells and returns the path with the largest sum, by dynamic programming. It is called
# for one example at a time; `length` counts the real nodes where examples are padded,
# and is not used here.


# %%
def best_path(scores, length):
    """The path from the first to the last column with the largest sum of scores."""
    best = scores.copy()
    came_from = np.zeros(scores.shape, int)
    for j in range(1, scores.shape[1]):
        before = np.pad(best[:, j - 1], 1, constant_values=-np.inf)
        options = np.stack([before[:-2], before[1:-1], before[2:]])
        came_from[:, j] = options.argmax(0) - 1
        best[:, j] += options.max(0)
    path = np.zeros_like(scores)
    i = best[:, -1].argmax()
    for j in reversed(range(scores.shape[1])):
        path[i, j] = 1
        i += came_from[i, j]
    return path


paths = tfnes.structures.BlackBox(best_path, parts_rank=2)

# %% [markdown]
# ## The data
#
# Random maps, the cheapest path at the true costs, and footprints: a cell of the path
# shows one with probability 0.8, any other cell with probability 0.1.

# %%
TRUE_COSTS = np.array([4.0, 2.0, 0.5, 3.0])
rng = np.random.default_rng(0)
terrain = rng.integers(len(TERRAINS), size=[NUM_MAPS, *SIZE])
true_paths = np.stack([best_path(-TRUE_COSTS[cells], -1) for cells in terrain])
footprints = rng.random(true_paths.shape) < np.where(true_paths > 0, 0.8, 0.1)

data = {
    "terrain": np.eye(len(TERRAINS), dtype="float32")[terrain],
    "footprints": footprints.astype("float32"),
}
train = tfnes.datasets.make_array_dataset(data, batch_size=50)

# %% [markdown]
# ## The model
#
# `encode` gives each cell a score by its terrain; `log_likelihood` says how likely the
# footprints are, given a path. Where there is no KL term, the path is a latent
# variable with the prior that the scores and the Gumbel noise define.


# %%
class Traveler(tfnes.models.StructuredVAE):
    """Footprints of whoever takes the best path."""

    def __init__(self, structure):
        super().__init__(structure)
        self.scores = keras.layers.Dense(1, use_bias=False, name="scores")
        self.prints = keras.layers.Dense(1, name="prints")

    def encode(self, batch, *, training=False):
        return self.scores(batch["terrain"])[..., 0]

    def log_likelihood(self, batch, latent, *, training=False):
        logits = self.prints(latent[..., None])[..., 0]
        seen = batch["footprints"]
        return -tf.reduce_sum(
            tf.nn.sigmoid_cross_entropy_with_logits(seen, logits), axis=[1, 2]
        )


# %% [markdown]
# ## Learning
#
# `NES` evaluates the model at 20 points around its parameters, and nothing else.

# %%
keras.utils.set_random_seed(0)
model = Traveler(paths)
model.compile(
    keras.optimizers.Adam(0.1), tfnes.estimators.NES(population_size=20, sigma=0.3)
)


def report(name):
    found = model.predict(train, verbose=0)["latent"] * true_paths
    loss = model.evaluate(train, verbose=0, return_dict=True)["neg_elbo"]
    share = found.sum() / true_paths.sum()
    print(f"{name}: {share:.1%} of the true paths' cells, {loss:.2f} nats a map")


model.fit(train, epochs=1, verbose=0)
report("after one epoch")
model.fit(train, epochs=EPOCHS, verbose=0)
report("at the end")

# %% [markdown]
# All paths have the same number of cells, so costs are known up to a constant, and up
# to a scale, which is the size of the noise. With both fitted, the learned costs stand
# beside the true ones:

# %%
learned = -model.scores.kernel.numpy()[:, 0]
scale, shift = np.polyfit(learned, TRUE_COSTS, 1)
for name, cost, true in zip(TERRAINS, scale * learned + shift, TRUE_COSTS, strict=True):
    print(f"{name:<6} {cost:5.2f}   true {true:.2f}")

# %% [markdown]
# One map, with the predicted path in white and the true one dashed:

# %%
predicted = model.predict(train, verbose=0)["latent"]
figure, axes = plt.subplots(figsize=(5, 3))
colors = ListedColormap(["#3b6fb5", "#e8d9a0", "#7bb661", "#888888"])
axes.imshow(terrain[0], cmap=colors, vmin=0, vmax=len(TERRAINS) - 1)
axes.plot(predicted[0].argmax(0), color="white", linewidth=5)
axes.plot(true_paths[0].argmax(0), color="black", linestyle="--")
axes.set_axis_off()
figure.savefig("path.png", dpi=80)

# %% [markdown]
# ![One map with the predicted and the true path](../pictures/path.png)
#
# A structure that is to be fast, on an accelerator or under XLA, is a class with three
# methods in TensorFlow: see [Your own structure](../howto/own_structure.md).
