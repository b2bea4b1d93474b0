# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train, compare, export
#
# Three training rules over three seeds, which of their differences are real, and the best network as a file of a bit a
# weight. 1,797 handwritten digits, half a minute on two CPU cores, nothing to download.
#
# ## One run
#
# `run` takes what `python run.py` takes, checks it, trains, evaluates and records. The name of the run's folder is a
# hash of its settings, so this cell, executed again, finds the finished run ([runs](../runs.md)).

# %%
# %matplotlib inline
import bnnrepro

short = ["dataset=digits", "model.hidden=[256]", "epochs=15"]
first = bnnrepro.run(*short, "method=bayesbinn")

# %% [markdown]
# ## Three rules, three seeds
#
# STE keeps a real number behind every weight, Bop only an average of gradients, BayesBiNN a probability
# ([the rules](../rules.md)). Each takes its own settings for this data set by itself. What a run prints is left out
# here; the bars stay.

# %%
import io
from contextlib import redirect_stdout

for method in ("bayesbinn", "ste", "bop"):
    for seed in range(3):
        with redirect_stdout(io.StringIO()):
            bnnrepro.run(*short, f"method={method}", f"seed={seed}")

# %% [markdown]
# ## What came out
#
# All runs are one table, a row a figure ([results](../results.md)). Weights are ±1 everywhere here: `mode` is the binary
# network.

# %%
table = bnnrepro.results("multirun", "dataset=digits epochs=15 model.hidden=[256]")
best = table.query("selection == 'best' and split == 'test' and prediction == 'mode'")
best.pivot_table(index="method", columns="metric", values="value", aggfunc=["mean", "std"]).round(3)

# %%
from bnnrepro.report.charts import learning_curves

curves = bnnrepro.curves("multirun", "dataset=digits epochs=15 model.hidden=[256]")
learning_curves(curves, "validation_accuracy", "method")

# %% [markdown]
# ## Which differences are real
#
# With equal seeds the split, the initial weights and the order of batches are the same, so differences are tested in
# pairs; p-values are corrected for the number of tests. Three seeds tell large differences only.

# %%
from bnnrepro.report.compare import compare
from bnnrepro.report.render.document import terminal

print(terminal(compare(table, ["method"])))

# %% [markdown]
# ## A file of a bit a weight
#
# The best run by validation, written as safetensors, read back without the run, and compared with it. Each file is
# checked on the test images before it is kept ([export](../deploy.md)).

# %%
validated = table.query("selection == 'best' and split == 'validation' and metric == 'accuracy'")
winner = validated.query("prediction == 'mode'").sort_values("value").iloc[-1]
done = bnnrepro.export(winner.folder, formats=["safetensors"])
print("\n".join(done.lines))

# %%
import torch

network = bnnrepro.load_packed(done.folder / "model.safetensors")
loaded = bnnrepro.load(winner.folder, device="cpu")
images = torch.randint(0, 256, (100, *loaded.about["shape"]), dtype=torch.uint8)
inputs = loaded.preprocess(images)
assert torch.equal(network(inputs), loaded.model(inputs))
print({name: sorted(set(p.unique().tolist())) for name, p in network.named_parameters()})
