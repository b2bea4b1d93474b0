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
# # Own images, with uncertainty
#
# A network with binary weights on a folder of your own images, and what it knows of its own errors. Half a minute on
# two CPU cores.
#
# The images here are handwritten digits that the first cell writes as PNG files, 0 to 7 as classes; 8 and 9 are kept
# back, as images of a kind that the network has never seen. With your own folder, leave the first cell out and name
# yours in `dataset.root`: `train/<class>/*.png` and `test/<class>/*.png`, in any format that Pillow reads
# ([data](../data.md), [settings](../runs.md)).

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

folder = Path("digits_png")
digits = load_digits()
pixels = (digits.images * 255 / 16).astype("uint8")
known = np.flatnonzero(digits.target < 8)
for number, index in enumerate(known):
    split, label = "test" if number % 5 == 0 else "train", f"digit_{digits.target[index]}"
    file = folder / split / label / f"{index}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[index]).save(file)
strange = pixels[digits.target >= 8]
print(f"{len(known)} images of 8 classes, {len(strange)} of other kinds")

# %% [markdown]
# ## Train
#
# `run` takes what the command line takes, and checks it. BiMU keeps a probability for every weight that stays
# uncertain as long as the data leave it so; BayesBiNN at the paper's temperature ends nearly certain, and its average
# over draws is then its mode ([the rules](../rules.md)).

# %%
import bnnrepro

run = bnnrepro.run(
    "dataset=image_folder",
    f"dataset.root={folder}",
    "method=bimu",
    "model.hidden=[128,128]",
    "epochs=30",
    "evaluate.samples=50",
)

# %% [markdown]
# The folder of the run has everything: settings, curves, checkpoints, result. The same cell again finds it finished.
#
# ## Predict
#
# `predict` with `samples` averages the class probabilities over networks drawn from the posterior, each of which has
# weights of exactly ±1; `preprocess` normalises as in training. Of the two states that a run keeps, the best epoch on
# validation and the last one, this takes the last: 115 validation images tell good epochs apart only by chance.

# %%
loaded = bnnrepro.load(run.folder.path, which="final")
trainer = loaded.trainer


def predictions(images):
    """Return class probabilities of each draw, shape (draws, images, classes)."""
    inputs = loaded.preprocess(np.asarray(images)[:, None])
    unlabelled = inputs, torch.zeros(len(inputs), dtype=torch.int64)
    return torch.stack([logits.softmax(1) for logits, _ in trainer.draws(unlabelled, samples=50)])


tests = sorted((folder / "test").glob("*/*.png"))
images = [np.asarray(Image.open(file)) for file in tests]
truth = [file.parent.name for file in tests]
drawn = predictions(images)
mean = drawn.mean(0)
guess = [loaded.classes[k] for k in mean.argmax(1)]
right = np.array(guess) == np.array(truth)
print(f"{len(tests)} test images, {100 * right.mean():.1f} % right")

# %% [markdown]
# ## What to trust
#
# The entropy of the averaged probabilities says how uncertain an image is. If the least certain images are left to a
# person, fewer of the rest are wrong.


# %%
def entropy(p):
    return torch.special.entr(p).sum(-1)


uncertainty = entropy(mean).numpy()
order = uncertainty.argsort()
for share in (0, 5, 10, 20):
    kept = order[: len(order) * (100 - share) // 100]
    print(f"{share:2d} % left to a person: {100 * right[kept].mean():.2f} % right of the rest")

# %% [markdown]
# ## Images of another kind
#
# Nothing tells the network that there are digits 8 and 9: it must choose among 0 to 7. Its uncertainty can tell: the
# share of pairs in which the strange image is the less certain one is the AUROC of detecting it, 50 % if by chance.

# %%
drawn_strange = predictions(strange)
of_known = entropy(mean)
of_strange = entropy(drawn_strange.mean(0))
detected = (of_strange[:, None] > of_known[None]).float().mean()
print(f"an 8 or 9 is less certain than a known digit in {100 * detected:.1f} % of all pairs")

figure, axes = plt.subplots(figsize=(6, 3))
bins = np.linspace(0, float(torch.cat([of_known, of_strange]).max()), 30)
axes.hist(of_known, bins, density=True, alpha=0.6, label="digits 0 to 7, test")
axes.hist(of_strange, bins, density=True, alpha=0.6, label="digits 8 and 9, never seen")
axes.set(xlabel="entropy of the mean prediction, nats", ylabel="density")
axes.legend()
figure.tight_layout()
plt.show()

# %%
worst = order[-6:][::-1]
figure, axes = plt.subplots(1, 6, figsize=(9, 2))
for ax, index in zip(axes, worst, strict=True):
    ax.imshow(images[index], cmap="gray_r")
    ax.set(xticks=[], yticks=[], title=f"{guess[index]}?\nis {truth[index]}")
figure.suptitle("The least certain test images", y=1.15)
plt.show()
