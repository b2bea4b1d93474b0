"""The schemas of data sets."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from bnnrepro.config.constraints import Length, Range
from bnnrepro.config.schema import (
    Count,
    DataSet,
    Fraction,
    NotNegative,
    Number,
    Positive,
    Text,
    register,
)

Shape = Annotated[list[Count], Length(3, exact=True)]


@dataclass
class Augment:
    """Random changes of the training images, new in every epoch."""

    pad: Annotated[int, Range(0)]
    """zeros added on each side before a random crop back to size, in pixels; 0: no crop"""
    flip: bool
    """mirror an image left to right with probability 1/2"""


@dataclass
class Images(DataSet):
    """The base of all data sets of images."""

    inputs: ClassVar[str | None] = "images"

    shape: Shape | None
    """channels, height, width of an image"""
    classes: Annotated[int, Range(2)] | None
    """number of classes"""
    mean: Annotated[list[Number], Length(1)] | None
    """mean of each channel, of pixels in [0, 1]; null: measured on the training images"""
    std: Annotated[list[Positive], Length(1)] | None
    """standard deviation of each channel; null: measured on the training images"""


@dataclass
class ImageSet(Images):
    """The base of all image data sets for classification."""

    task: ClassVar[str | None] = "classification"

    validation_split: Fraction
    """fraction of the training set held out to choose the best epoch; 0: none"""
    augment: Augment
    """random changes of the training images"""


@register("dataset", "bnnrepro.data.digits.load")
@dataclass
class Digits(ImageSet):
    """Handwritten digits of scikit-learn."""


@dataclass
class Downloaded(ImageSet):
    """The base of all image data sets that can be downloaded."""

    root: Text
    """folder of the data; the environment variable BNNREPRO_DATA changes it for all data sets"""
    download: bool
    """download missing files"""


@register("dataset", "bnnrepro.data.mnist.load")
@dataclass
class MNIST(Downloaded):
    """MNIST."""


@register("dataset", "bnnrepro.data.cifar.load")
@dataclass
class CIFAR(Downloaded):
    """CIFAR-10 and CIFAR-100."""

    name: Literal["cifar10", "cifar100"]
    """which of the two"""


@register("dataset", "bnnrepro.data.image_folder.load")
@dataclass
class ImageFolder(ImageSet):
    """A user's images, one folder a class."""

    root: Text
    """the folder that holds train/<class>/ and test/<class>/"""
    size: Count | None
    """resize to size x size pixels; null: all images have one size already"""


@dataclass
class Permuted(Images):
    """Tasks in a row, each with its own permutation of the pixels."""

    task: ClassVar[str | None] = "continual"
    for_task: ClassVar[tuple[str, ...]] = ("prior", "norm_statistics")

    tasks: Annotated[int, Range(2, 1000)]
    """number of tasks, each trained for `epochs`, one after the other"""
    prior: Literal["posterior", "fixed"]
    """prior of later tasks: the posterior of the task before, or fixed at method.prior"""
    norm_statistics: Literal["shared", "per_task"]
    """BatchNorm's running statistics: shared by all tasks, or separate for each"""

    def tasks_in_a_row(self) -> int:
        """Return the number of tasks."""
        return self.tasks


@register("dataset", "bnnrepro.data.permuted.digits")
@dataclass
class PermutedDigits(Permuted):
    """Permuted digits of scikit-learn."""


@register("dataset", "bnnrepro.data.permuted.mnist")
@dataclass
class PermutedMNIST(Permuted):
    """Permuted MNIST."""

    root: Text
    """folder of the data; the environment variable BNNREPRO_DATA changes it for all data sets"""
    download: bool
    """download missing files"""


@dataclass
class PointSet(DataSet):
    """The base of all data sets of points."""

    inputs: ClassVar[str | None] = "points"


@dataclass
class Generated(PointSet):
    """The base of generated points, which are the same for every seed of a run."""

    points: Annotated[int, Range(2)]
    """number of training points"""
    test_points: Annotated[int, Range(2)]
    """number of test points, drawn with another seed"""
    noise: NotNegative
    """standard deviation of the noise"""


@register("dataset", "bnnrepro.data.two_moons.load")
@dataclass
class TwoMoons(Generated):
    """scikit-learn's two moons."""

    task: ClassVar[str | None] = "classification"


@register("dataset", "bnnrepro.data.toy_regression.load")
@dataclass
class ToyRegression(Generated):
    """A noisy curve with a gap."""

    task: ClassVar[str | None] = "regression"


@register("dataset", "bnnrepro.data.snelson.load")
@dataclass
class Snelson(PointSet):
    """Snelson's regression set."""

    task: ClassVar[str | None] = "regression"

    root: Text
    """folder of train_inputs and train_outputs; BNNREPRO_DATA changes its default"""


@dataclass
class SegmentationAugment:
    """Random changes of the training crops and their labels, new in every epoch."""

    flip: bool
    """mirror a crop left to right with probability 1/2"""
    rotate: bool
    """rotate by 0, 90, 180 or 270 degrees"""


@dataclass
class SegmentationSet(Images):
    """The base of all data sets for segmentation."""

    task: ClassVar[str | None] = "segmentation"

    validation_split: Fraction
    """fraction of the training images held out to choose the best epoch; 0: none"""
    crop: Count | None
    """side of the square training crops, in pixels; null: whole images"""
    crops: Count
    """crops of each image per epoch, each at a random position"""
    augment: SegmentationAugment
    """random changes of the training crops"""


@register("dataset", "bnnrepro.data.shapes.load")
@dataclass
class Shapes(SegmentationSet):
    """Generated cells with membranes."""

    size: Annotated[int, Range(16)]
    """side of an image in pixels"""
    images: Annotated[int, Range(2)]
    """number of training images"""
    test_images: Count
    """number of test images"""
    generator_seed: Annotated[int, Range(0)]
    """seed of the images; the run's seed does not change them"""


@register("dataset", "bnnrepro.data.label_folder.load")
@dataclass
class LabelFolder(SegmentationSet):
    """Images and labels in folders."""

    root: Text
    """folder that holds train_imgs, train_labels, val_imgs and val_labels, or isbi-em/ with them"""


@register("dataset", "bnnrepro.data.label_folder.isbi")
@dataclass
class ISBI(LabelFolder):
    """The ISBI 2012 challenge's micrographs."""
