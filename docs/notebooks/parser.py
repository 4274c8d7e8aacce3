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
# # A parser, from a CoNLL-U file to a picture
#
# From Python: read treebanks, train a dependency parser, adapt it by NES to another
# domain, write its trees, draw one.

# %%
import pathlib

import keras

import tfnes

SOURCE_SENTENCES = 300
EPOCHS = 8
UNITS = 64

# %% [markdown]
# ## The files
#
# Any CoNLL-U files will do. Here they are those of an invented language, so that
# nothing has to be fetched. `find_treebank` and `TreebankAdaptation` take a folder in
# the layout of a Universal Dependencies release, or the paths of the files.

# %%
demo = tfnes.datasets.DemoTreebank(source_train=SOURCE_SENTENCES, target_train=100)
files = demo.write_conllu("treebanks")
print(
    "\n".join(
        sorted(path.as_posix() for path in pathlib.Path("treebanks").rglob("*.conllu"))
    )
)
print(files["target_test"].read_text("utf-8").split("\n\n")[0])

# %%
data = tfnes.datasets.TreebankAdaptation(
    source="UD_Demo-Source",
    target="UD_Demo-Target",
    data_dir="treebanks",
    signatures=True,
)
print(data.describe())

# %% [markdown]
# ## Supervised, on the source

# %%
keras.utils.set_random_seed(0)
model = tfnes.models.Parser(
    tfnes.structures.DependencyTree(projective=True),
    embedding_size=UNITS,
    hidden_size=UNITS,
    scorer_size=UNITS,
    decoder_size=UNITS,
    word_dropout=1.0,
    dropout=0.3,
)
model.adapt(data)
metrics = [tfnes.metrics.UAS(), tfnes.metrics.LAS()]
model.compile(keras.optimizers.Adam(4e-3), tfnes.estimators.Supervised(), metrics)
source = data.get_dataset("source_train", batch_size=8, shuffle=True)
test = data.get_dataset("target_test", batch_size=64)
model.fit(source, epochs=EPOCHS, verbose=0)


def report(name):
    scores = model.evaluate(test, return_dict=True, verbose=0)
    print(f"{name}: UAS {scores['uas']:.1%}, LAS {scores['las']:.1%}, ", end="")
    print(f"{scores['neg_elbo']:.3f} nats a word")


report("supervised, on the other domain")

# %% [markdown]
# ## NES, on the target's text
#
# Without trees: the latent tree is whatever helps to predict the words. The decoder
# stays as it is. Nothing ties the loss to the annotators' trees, so attachment need
# not follow it; look at both.

# %%
model.decoder_trainable = False
model.compile(
    keras.optimizers.Adam(1e-3),
    tfnes.estimators.NES(population_size=20, sigma=0.1),
    metrics,
)
text = data.get_dataset("target_train", batch_size=100)
model.fit(text, epochs=2, verbose=0)
report("after NES")

# %% [markdown]
# ## Trees in a file, and in a picture

# %%
gold = tfnes.datasets.read_conllu(files["target_test"])
heads, relations = tfnes.experiments.TreePredictor(model)(gold)
tfnes.datasets.write_conllu("predicted.conllu", gold, heads=heads, relations=relations)

print(
    tfnes.plotting.format_dependency_tree(
        gold[8].forms, heads[8], relations=relations[8]
    )
)
figure = tfnes.plotting.draw_dependency_tree(
    gold[8].forms,
    heads[8],
    relations=relations[8],
    gold_heads=gold[8].heads,
    gold_relations=gold[8].relations,
)
tfnes.plotting.save_figure(figure, "tree.svg")

# %% [markdown]
# ![Predicted above, gold below](../pictures/tree.svg)
#
# (This picture is of the parser that `bin/train --gin_file=gin_configs/parser_nes.gin`
# trains.) The same from the shell, with checkpoints, exact resume and TensorBoard:
# [Your own treebank](../howto/own_treebank.md).
