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
# # Quickstart
#
# A variational auto-encoder whose latent is one of ten categories, learned by NES:
# first with hundreds of evaluations an update, as in the paper, then with eight, and
# beside them by the exact gradient.

# %%
import keras
import numpy as np

import tfnes

NUM_IMAGES = 2000
EPOCHS = 40

# %% [markdown]
# The images are noisy copies of ten random patterns of 8 × 8 pixels; a pixel is wrong
# with probability 0.1. A model that finds the ten patterns needs log 10 nats for the
# category and 64 times the entropy of a coin that falls wrong one time in ten: about
# 23.1 nats an image. A model that does not look at the image needs about 42.

# %%
rng = np.random.default_rng(0)
patterns = rng.random([10, 64]) < 0.5
which = rng.integers(10, size=NUM_IMAGES)
wrong = rng.random([NUM_IMAGES, 64]) < 0.1
images = (patterns[which] ^ wrong).astype("float32")


def batches():
    return tfnes.datasets.make_array_dataset({"image": images}, batch_size=100)


frequency = images.mean(0)
mean_image = -(images * np.log(frequency) + (1 - images) * np.log(1 - frequency))
print(f"the mean image: {mean_image.sum(1).mean():.2f} nats")

# %% [markdown]
# The model says what is computed, the structure which latents exist, the estimator how
# to learn. Only the estimator changes below. `expected_neg_elbo` is the exact negative
# ELBO in nats an image, all ten categories summed out.


# %%
def train(estimator, learning_rate):
    keras.utils.set_random_seed(0)
    model = tfnes.models.MLP(hidden_units=50, input_size=64)
    model.compile(keras.optimizers.Adam(learning_rate), estimator)
    model.fit(batches(), epochs=EPOCHS, verbose=0)
    loss = model.evaluate(batches(), return_dict=True, verbose=0)["expected_neg_elbo"]
    print(f"{type(estimator).__name__}, {learning_rate}: {loss:.2f} nats")
    return model


paper = tfnes.estimators.NES(population_size=100, sigma=0.1)
train(paper, 1e-2)

# %% [markdown]
# After 800 updates that one is still at the mean image: one number for each evaluation
# of a whole batch is little to learn from. Noise on what the layers compute, each
# image's its own, learns with eight evaluations: see [Fast NES](../fast_nes.md).

# %%
fast = tfnes.estimators.NES(
    population_size=8, sigma=0.1, noise="activations", granularity="example"
)
model = train(fast, 1e-2)

# %%
exact = train(tfnes.estimators.Exact(), 1e-2)

# %% [markdown]
# What did the second one learn? Which categories it uses, and whether the category of
# an image tells its pattern; by chance one in ten would:

# %%
latents = model.predict(batches(), verbose=0)["latent"].argmax(-1)
table = np.zeros([10, 10], int)
np.add.at(table, (which, latents), 1)
share = table.max(0).sum() / NUM_IMAGES
print(f"{np.count_nonzero(table.sum(0))} categories are used")
print(f"{share:.1%} of the images have the pattern that most of their category have")

# %% [markdown]
# The file of a model holds its estimator too:

# %%
model.save("model.keras")
again = keras.models.load_model("model.keras")
assert np.array_equal(again.predict(batches(), verbose=0)["latent"].argmax(-1), latents)
