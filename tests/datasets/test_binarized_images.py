"""Binarized images: pixels, splits and order, of made-up and of real data."""

import os
import pathlib

import numpy as np
import pytest
from made_images import write_images

from tfnes.datasets import BinarizedImages
from tfnes.datasets.binarized_images import _find_prepared
from tfnes.errors import ConfigurationError, MissingDataError
from tfnes.metrics import cluster_neg_elbo, mean_image_neg_elbo

SHARED = pathlib.Path(
    os.environ.get(
        "TFNES_SHARED_DATA", pathlib.Path(__file__).parents[3] / "shared" / "data"
    ),
    "tfds",
)
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="the prepared image data is not there"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, [31, 28, 28, 1], dtype=np.uint8)
    test = rng.integers(0, 256, [4, 28, 28, 1], dtype=np.uint8)
    write_images(folder, "kmnist", train, test)
    return folder, train, test


def test_pixels_are_rounded_brightness(made):
    folder, _, test = made
    data = BinarizedImages(name="kmnist", data_dir=folder)
    batch = next(iter(data.get_dataset("test", batch_size=4)))
    expected = np.round(test.reshape(4, 784) / 255)
    np.testing.assert_array_equal(batch["image"], expected)
    assert batch["image"].dtype == "float32"
    np.testing.assert_array_equal(batch["label"], range(4))
    np.testing.assert_array_equal(batch["index"], range(4))


def test_validation_is_a_sixth_of_train_by_seed(made):
    folder, train, _ = made
    everything = {image.tobytes() for image in np.round(train.reshape(31, 784) / 255)}

    def images(split, seed):
        data = BinarizedImages(name="kmnist", data_dir=folder, seed=seed)
        found = data.arrays(split)[0].astype(np.float64)
        assert len(found) == data.num_examples(split)
        return {image.tobytes() for image in found}

    first = images("validation", 0)
    assert len(first) == 5 and len(images("train", 0)) == 26
    assert first | images("train", 0) == everything
    assert first != images("validation", 1)
    assert first == images("validation", 0)


def test_order_is_a_function_of_seed_and_epoch(made):
    data = BinarizedImages(name="kmnist", data_dir=made[0])

    def index(**kwargs):
        batches = data.get_dataset("train", batch_size=7, shuffle=True, **kwargs)
        return [int(i) for batch in batches for i in batch["index"].numpy()]

    assert sorted(index()) == list(range(26))
    assert index() == index() != index(epoch=1)
    assert index(seed=1) != index()
    assert index(skip=2) == index()[14:]
    assert index(drop_remainder=True) == index()[:21]


def test_a_partial_copy_is_told(made):
    text = BinarizedImages(name="kmnist", data_dir=made[0], num_train=12).describe()
    assert "train: 10\nvalidation: 2\ntest: 4" in text
    assert "31 of the 60,000 images of the official train split" in text
    assert "4 of the 10,000 images of the official test split" in text
    assert "only the first 12 training images" in text


def test_what_is_missing_is_said_at_once(made, tmp_path, monkeypatch):
    with pytest.raises(MissingDataError, match=r"no prepared mnist.*tfds\.load"):
        BinarizedImages(name="mnist", data_dir=made[0])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingDataError, match=str(tmp_path)):
        BinarizedImages()
    monkeypatch.setenv("TFDS_DATA_DIR", str(made[0]))
    assert BinarizedImages(name="kmnist").num_examples("test") == 4
    with pytest.raises(ConfigurationError, match="name must be one of"):
        BinarizedImages(name="cifar10")
    with pytest.raises(ConfigurationError, match="at least 6"):
        BinarizedImages(name="kmnist", num_train=3)


def test_the_newest_version_is_read(tmp_path):
    for version in ("2.0.0", "10.0.0", "3.0.1", "incomplete.X"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").touch()
    assert _find_prepared("mnist", tmp_path).name == "10.0.0"


def test_large_images_are_reduced(tmp_path):
    large = np.zeros([6, 112, 112, 3], np.uint8)
    large[:, :56] = 255
    write_images(tmp_path, "omniglot", large, large[:1])
    data = BinarizedImages(name="omniglot", data_dir=tmp_path)
    image = data.arrays("test")[0].reshape(28, 28)
    assert image[:14].all() and not image[14:].any()


def test_mean_image_is_the_entropy_of_the_pixels():
    rng = np.random.default_rng(0)
    p = np.array([0.1, 0.5, 0.9])
    images = (rng.uniform(size=[20000, 3]) < p).astype(np.uint8)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert mean_image_neg_elbo(images, images) == pytest.approx(entropy, abs=0.02)
    # An unseen pixel costs much, but not infinitely much.
    assert 0 < mean_image_neg_elbo(images[:, :1] * 0, images[:, :1] * 0 + 1) < 20


def test_clusters_find_separate_groups():
    rng = np.random.default_rng(0)
    centers = rng.uniform(size=[4, 30]) < 0.5
    group = rng.integers(0, 4, 3000)
    images = centers[group] ^ (rng.uniform(size=[3000, 30]) < 0.05)
    noise = -30 * (0.05 * np.log(0.05) + 0.95 * np.log(0.95))
    found = cluster_neg_elbo(images[:2000], images[2000:], num_clusters=4)
    assert found == pytest.approx(noise + np.log(4), abs=0.4)
    one = cluster_neg_elbo(images[:2000], images[2000:], num_clusters=1)
    mean = mean_image_neg_elbo(images[:2000], images[2000:])
    assert one == pytest.approx(mean, abs=1e-4) and mean > found + 5


@needs_shared
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", (50_000, 10_000, 10_000)),
        ("fashion_mnist", (6667, 1333, 4000)),
        ("kmnist", (5834, 1166, 10_000)),
        ("omniglot", (16_067, 3213, 13_180)),
    ],
)
def test_real_data_sets_are_found(name, sizes):
    data = BinarizedImages(name=name, data_dir=SHARED)
    assert tuple(data.num_examples(split) for split in data.splits) == sizes
    assert ("partial copy" in data.describe()) == (name in ("fashion_mnist", "kmnist"))


@needs_shared
def test_trivial_solutions_of_real_data():
    data = BinarizedImages(name="fashion_mnist", data_dir=SHARED)
    train = np.concatenate([data.arrays(s)[0] for s in ("train", "validation")])
    test = data.arrays("test")[0]
    assert mean_image_neg_elbo(train, test) == pytest.approx(382.6, abs=0.1)
    clusters = cluster_neg_elbo(train, test, num_restarts=1)
    assert clusters == pytest.approx(222.4, abs=1.5)
