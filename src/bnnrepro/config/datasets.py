"""The schemas of data sets."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from bnnrepro.config.constraints import Length, Range
from bnnrepro.config.schema import (
    Count,
    Fraction,
    NotNegative,
    Number,
    Part,
    Positive,
    Text,
    schema,
)

Shape = Annotated[list[Count], Length(3, exact=True)]


@dataclass
class DataSet(Part):
    """What every data set has."""

    task: ClassVar[str]
    """what is learnt on it: a task's name"""
    inputs: ClassVar[str] = "images"
    """what its inputs are"""
    for_task: ClassVar[tuple[str, ...]] = ()
    """keys that the task reads; the loader need not know them"""

    def tasks_in_a_row(self) -> int:
        """Return how often the run's epochs are trained, one task after the other."""
        return 1


@dataclass
class Augment:
    """Random changes of the training images, drawn anew every epoch."""

    pad: Annotated[int, Range(0)]
    """zeros added on each side before a random crop back to size, in pixels; 0: no crop"""
    flip: bool
    """mirror every second image, at random, left to right"""


@dataclass
class Images(DataSet):
    """What everything made of images has."""

    shape: Shape | None
    """channels, height, width of an image"""
    classes: Annotated[int, Range(2)] | None
    """number of classes"""
    mean: Annotated[list[Number], Length(1)] | None
    """per channel, of pixels in [0, 1], subtracted; null: measured on the training images"""
    std: Annotated[list[Positive], Length(1)] | None
    """per channel, divided by; null: measured on the training images"""


@dataclass
class ImageSet(Images):
    """What all image data sets for classification have."""

    task: ClassVar[str] = "classification"

    validation_split: Fraction
    """share of the training set held out to choose the best epoch; 0: none"""
    augment: Augment
    """changes of the training images"""


@schema("dataset", "bnnrepro.data.digits.load")
@dataclass
class Digits(ImageSet):
    """Handwritten digits of scikit-learn."""


@dataclass
class Downloaded(ImageSet):
    """Data sets kept in a folder."""

    root: Text
    """folder of the data; the environment variable BNNREPRO_DATA names another one for all"""
    download: bool
    """fetch what is missing"""


@schema("dataset", "bnnrepro.data.mnist.load")
@dataclass
class MNIST(Downloaded):
    """MNIST."""


@schema("dataset", "bnnrepro.data.cifar.load")
@dataclass
class CIFAR(Downloaded):
    """CIFAR-10 and CIFAR-100."""

    name: Literal["cifar10", "cifar100"]
    """which of the two"""


@schema("dataset", "bnnrepro.data.image_folder.load")
@dataclass
class ImageFolder(ImageSet):
    """A user's images, one folder a class."""

    root: Text
    """the folder that holds train/<class>/ and test/<class>/"""
    size: Count | None
    """resize to size x size pixels; null: every image has the same size already"""


@dataclass
class Permuted(Images):
    """Tasks in a row, each with the pixels in an order of its own."""

    task: ClassVar[str] = "continual"
    for_task: ClassVar[tuple[str, ...]] = ("prior", "norm_statistics")

    tasks: Annotated[int, Range(2, 1000)]
    """number of tasks, each trained for `epochs`, one after the other"""
    prior: Literal["posterior", "fixed"]
    """of tasks after the first: the posterior of the task before, or fixed at method.prior"""
    norm_statistics: Literal["shared", "per_task"]
    """BatchNorm's running statistics: shared by all tasks, or a set for each"""

    def tasks_in_a_row(self) -> int:
        """All of them."""
        return self.tasks


@schema("dataset", "bnnrepro.data.permuted.digits")
@dataclass
class PermutedDigits(Permuted):
    """Permuted digits of scikit-learn."""


@schema("dataset", "bnnrepro.data.permuted.mnist")
@dataclass
class PermutedMNIST(Permuted):
    """Permuted MNIST."""

    root: Text
    """folder of the data; the environment variable BNNREPRO_DATA names another one for all"""
    download: bool
    """fetch what is missing"""


@dataclass
class PointSet(DataSet):
    """What all data sets of points have."""

    inputs: ClassVar[str] = "points"


@dataclass
class Generated(PointSet):
    """Points that are drawn: the same ones for every seed of a run."""

    points: Annotated[int, Range(2)]
    """points to train on"""
    test_points: Annotated[int, Range(2)]
    """points to test on, drawn with another seed"""
    noise: NotNegative
    """standard deviation of the noise"""


@schema("dataset", "bnnrepro.data.two_moons.load")
@dataclass
class TwoMoons(Generated):
    """scikit-learn's two moons."""

    task: ClassVar[str] = "classification"


@schema("dataset", "bnnrepro.data.toy_regression.load")
@dataclass
class ToyRegression(Generated):
    """A noisy curve with a gap."""

    task: ClassVar[str] = "regression"


@schema("dataset", "bnnrepro.data.snelson.load")
@dataclass
class Snelson(PointSet):
    """Snelson's regression set."""

    task: ClassVar[str] = "regression"

    root: Text
    """folder of train_inputs and train_outputs; BNNREPRO_DATA names another one than data"""


@dataclass
class Turning:
    """Random changes of the training crops and their labels, drawn anew every epoch."""

    flip: bool
    """mirror every second crop, at random, left to right"""
    rotate: bool
    """turn by a random number of quarter turns"""


@dataclass
class SegmentationSet(Images):
    """What all data sets for segmentation have."""

    task: ClassVar[str] = "segmentation"

    validation_split: Fraction
    """share of the training images held out to choose the best epoch; 0: none"""
    crop: Count | None
    """side of the squares that are trained on, in pixels; null: whole images"""
    crops: Count
    """squares cut from an image in an epoch, each at a random place"""
    augment: Turning
    """changes of the training crops"""


@schema("dataset", "bnnrepro.data.shapes.load")
@dataclass
class Shapes(SegmentationSet):
    """Generated cells with membranes."""

    size: Annotated[int, Range(16)]
    """side of an image in pixels"""
    images: Annotated[int, Range(2)]
    """images to train on"""
    test_images: Count
    """images to test on"""
    generator_seed: Annotated[int, Range(0)]
    """what the images are drawn from; the run's seed does not change them"""


@schema("dataset", "bnnrepro.data.label_folder.load")
@dataclass
class LabelFolder(SegmentationSet):
    """Images and labels in folders."""

    root: Text
    """folder with train_imgs, train_labels, val_imgs, val_labels, or with isbi-em/ that has them"""


@schema("dataset", "bnnrepro.data.label_folder.isbi")
@dataclass
class ISBI(LabelFolder):
    """The ISBI 2012 challenge's micrographs."""
