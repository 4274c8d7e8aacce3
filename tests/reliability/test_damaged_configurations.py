"""Damaged gin files and bindings are refused with one clear error, or taken."""

import gin
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from mutations import damaged

from tfnes.errors import ConfigurationError
from tfnes.experiments import catalog, configuration

pytestmark = pytest.mark.reliability

catalog.register_all()

ORIGINALS = [
    b"""\
# Adapt a parser.
include 'gin_configs/base/parser_adaptation.gin'
include 'gin_configs/models/parser.gin'

DependencyTree.projective = True
pretrain/Phase.epochs = %EPOCHS
adapt/Phase.frozen = ('decoder',)
train.metrics = [@UAS(), @without/UAS()]
without/UAS.name = 'words_uas'
EPOCHS = 10
SIGMA = 0.1
NES.sigma = %SIGMA
""",
    b"NES.population_size = 4\nNES.sigma = {'a': (1.0, None)}\n",
]
BINDINGS = ("NES.sigma = 0.1", "train.metrics = [@UAS()]", "fit/Phase.epochs = 3")
finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("damaged")
    gin.clear_config()


@given(data=damaged(ORIGINALS))
def test_files(folder, data):
    path = folder / "x.gin"
    path.write_bytes(data)
    try:
        configuration.parse([str(path)])
        event("taken")
    except ConfigurationError as error:
        assert str(error)
        event("refused")


@given(data=damaged([binding.encode() for binding in BINDINGS]))
def test_bindings(data):
    text = data.decode(errors="replace")
    try:
        configuration.parse([], [text])
        event("taken")
    except ConfigurationError as error:
        assert str(error)
        event("refused")


@given(
    name=st.sampled_from(("NES.sigma", "Parser.dropout", "train.seed", "DATA_DIR")),
    value=st.one_of(st.integers(), finite, st.text(), st.none(), st.booleans()),
)
def test_any_plain_value_can_be_bound(name, value):
    configuration.parse([], [f"{name} = {value!r}"])
