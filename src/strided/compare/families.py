"""What each family of networks is good for and where its limits are, in a line each."""

import re
from typing import NamedTuple


class Family(NamedTuple):
    """Strengths and limits, for a reader who has to choose."""

    strengths: str
    limits: str


# By the whole name. Errors are the papers', with what they were measured on.
_FAMILIES = {
    r"mlp(_small)?": Family(
        "Matrix products only: fast on small images, and the baseline that convolutions must beat.",
        "Knows no neighbourhood, so that a shifted image is another input; its parameters grow "
        "with the area of the image.",
    ),
    r"lenet5|lenet5_original": Family(
        "Local filters, shared weights and subsampling in a network that trains in seconds; 0.95 % "
        "test error on MNIST in the paper (1998), 0.8 % with distorted training images.",
        "Made for one centred character of 32x32 pixels, the only size that it takes.",
    ),
    r"airbench": Family(
        "Made for little training: 94 % on CIFAR-10 after 9.9 epochs, 0.36 PFLOPs, in the paper "
        "(six views of an image averaged).",
        "Chosen for one data set of 32x32 pixels. The maximum over the last maps is all that its "
        "last layer sees, and three pools leave much arithmetic at larger sizes.",
    ),
    r"alexnet": Family(
        "ReLU, dropout and GPUs at ImageNet's scale. Won ILSVRC-2012 with 15.3 % top-5 error, an "
        "ensemble of seven networks, two of them with more training data; one alone had 18.2 % "
        "on the validation images.",
        "This is the variant of 2014 in one column. 96 % of its parameters are in three fully "
        "connected layers; the first filters step over 4 pixels and lose what is finer.",
    ),
    r"vgg(11|13|16|19)(_bn)?": Family(
        "Only 3x3 convolutions in a row: simple, and its features transfer well. Second in "
        "ILSVRC-2014's classification with 7.3 % top-5 error, an ensemble of seven networks.",
        "The most arithmetic and parameters for its accuracy; VGG-16 has 89 % of them in three "
        "fully connected layers. No shortcuts: deeper rows get worse.",
    ),
    r"googlenet": Family(
        "Branches of several filter sizes behind 1x1 convolutions that keep them cheap. Won "
        "ILSVRC-2014 with 6.67 % top-5 error, an ensemble of seven networks and 144 crops; one "
        "network and one crop had 10.07 % on the validation images.",
        "Every width is chosen by hand. torchvision's, which this is, has batch normalisation, and "
        "3x3 filters where the paper has 5x5.",
    ),
    r"inception_v3": Family(
        "Large filters factorised into 3x3, 1x7 and 7x1, and label smoothing: 5.6 % top-5 error of "
        "one network and one crop on ImageNet's validation images in the paper.",
        "Made for 299x299 pixels; many different modules, all chosen by hand.",
    ),
    r"resnet(18|34|50|101|152)": Family(
        "Shortcuts let over a hundred layers train. Won ILSVRC-2015 with 3.57 % top-5 error, an "
        "ensemble of six networks. The usual baseline, for transfer too.",
        "Arithmetic grows in proportion to depth, accuracy by ever less. Published accuracies "
        "depend on the training recipe as much as on depth.",
    ),
    r"resnet_cifar": Family(
        "Made for 32x32 pixels: 0.27 million parameters at depth 20, with 8.75 % error on CIFAR-10 "
        "in the paper.",
        "Shrinks the image by 4 only: the arithmetic grows with its area, and at 224x224 a unit "
        "sees 81 pixels of it (depth 20). 64 features are few for many classes.",
    ),
    r"densenet(121|161|169|201)": Family(
        "A layer reads the maps of all before it in its block: few parameters. In the paper "
        "DenseNet-201 with 20 million has the validation error of ResNet-101 with over 40 million.",
        "All those maps stay in memory for training, and many small convolutions over joined maps "
        "take longer than their arithmetic says.",
    ),
    r"efficientnet_b[0-7]": Family(
        "Depthwise convolutions with squeeze-and-excitation, found by a search for accuracy at "
        "little arithmetic; width, depth and image size grow together from B0 to B7.",
        "Depthwise convolutions wait for memory: slower than their arithmetic says. Sensitive to "
        "the training recipe.",
    ),
    r"(tf_)?efficientnet_lite[0-4]": Family(
        "EfficientNet without squeeze-and-excitation and with ReLU6, so that 8-bit arithmetic on "
        "phones loses little.",
        "Somewhat less accurate than the EfficientNet that it is made from; depthwise convolutions "
        "wait for memory.",
    ),
    r"mobilenet_v3_(large|small)": Family(
        "Found by a search for the latency on a phone's CPU: 75.2 % top-1 accuracy on ImageNet "
        "with 0.22 billion multiply-adds (large, in the paper).",
        "On GPUs, and untuned CPUs, depthwise convolutions save less time than arithmetic; few "
        "features for hard tasks.",
    ),
}


def family(name: str) -> Family:
    """Return strengths and limits of a network's family; empty lines for other networks."""
    found = (lines for pattern, lines in _FAMILIES.items() if re.fullmatch(pattern, name))
    return next(found, Family("", ""))
