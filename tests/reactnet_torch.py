"""The published ReActNets in PyTorch, written from their description, as an oracle."""

from itertools import pairwise

import torch
from torch import nn


class Bias(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        return x + self.bias


class BinaryConv(nn.Module):
    """Of signs; `flat` stores the weights as the MobileNet's second step does."""

    def __init__(self, before, after, size, stride, step, flat):
        super().__init__()
        self.shape = (after, before, size, size)
        self.stride, self.padding, self.step, self.flat = stride, size // 2, step, flat
        count = after * before * size * size
        if flat:
            self.weights = nn.Parameter(torch.zeros(count, 1))
        else:
            self.weight = nn.Parameter(torch.zeros(self.shape))

    def forward(self, x):
        weights = self.weights.view(self.shape) if self.flat else self.weight
        if self.step == 2:
            scale = weights.abs().mean((1, 2, 3), keepdim=True)
            weights = scale * weights.sign()
        return nn.functional.conv2d(x, weights, None, self.stride, self.padding)


class ResNetBlock(nn.Module):
    def __init__(self, before, after, stride, step, flat):
        super().__init__()
        self.move0 = Bias(before)
        self.binary_conv = BinaryConv(before, after, 3, stride, step, flat)
        self.bn1 = nn.BatchNorm2d(after)
        self.move1, self.prelu, self.move2 = Bias(after), nn.PReLU(after), Bias(after)
        self.downsample = None
        if stride == 2 or before != after:
            pool, conv = nn.AvgPool2d(2, 2), nn.Conv2d(before, after, 1, bias=False)
            self.downsample = nn.Sequential(pool, conv, nn.BatchNorm2d(after))

    def forward(self, x, signs):
        shortcut = x if self.downsample is None else self.downsample(x)
        signs.append(self.move0(x))
        y = self.bn1(self.binary_conv(signs[-1].sign()))
        return self.move2(self.prelu(self.move1(y + shortcut)))


class ResNet(nn.Module):
    """Its call answers logits, the outputs of all blocks, and what the signs read."""

    def __init__(self, filters, classes, step, flat):
        super().__init__()
        self.conv1 = nn.Conv2d(3, filters[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(filters[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = filters[0]
        for stage, after in enumerate(filters, start=1):
            strides = [2 if stage > 1 else 1, 1, 1, 1]
            widths = [before, after, after, after]
            pairs = zip(widths, strides, strict=True)
            blocks = [ResNetBlock(width, after, stride, step, flat) for width, stride in pairs]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = after
        self.stages = len(filters)
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)))
        outputs, signs = {}, []
        for stage in range(1, self.stages + 1):
            for number, block in enumerate(getattr(self, f"layer{stage}"), start=1):
                x = outputs[f"stage{stage}_block{number}_prelu"] = block(x, signs)
        return self.fc(x.mean((2, 3))), outputs, signs


class Stem(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.bn1(self.conv1(x))


class MobileNetBlock(nn.Module):
    def __init__(self, before, after, stride, step, flat):
        super().__init__()
        self.move11 = Bias(before)
        self.binary_3x3 = BinaryConv(before, before, 3, stride, step, flat)
        self.bn1 = nn.BatchNorm2d(before)
        self.move12, self.prelu1, self.move13 = Bias(before), nn.PReLU(before), Bias(before)
        self.move21 = Bias(before)
        self.widens = before != after
        if self.widens:
            self.binary_pw_down1 = BinaryConv(before, before, 1, 1, step, flat)
            self.binary_pw_down2 = BinaryConv(before, before, 1, 1, step, flat)
            self.bn2_1, self.bn2_2 = nn.BatchNorm2d(before), nn.BatchNorm2d(before)
        else:
            self.binary_pw = BinaryConv(before, before, 1, 1, step, flat)
            self.bn2 = nn.BatchNorm2d(before)
        self.move22, self.prelu2, self.move23 = Bias(after), nn.PReLU(after), Bias(after)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x, signs):
        signs.append(self.move11(x))
        y = self.bn1(self.binary_3x3(signs[-1].sign())) + self.pool(x)
        y = middle = self.move13(self.prelu1(self.move12(y)))
        signs.append(self.move21(y))
        z = signs[-1].sign()
        if self.widens:
            halves = self.bn2_1(self.binary_pw_down1(z)), self.bn2_2(self.binary_pw_down2(z))
            y = torch.cat([half + y for half in halves], 1)
        else:
            y = self.bn2(self.binary_pw(z)) + y
        return middle, self.move23(self.prelu2(self.move22(y)))


class MobileNet(nn.Module):
    def __init__(self, filters, classes, step, flat):
        super().__init__()
        self.feature = nn.ModuleList([Stem(filters[0])])
        for before, after in pairwise(filters):
            stride = 2 if after != before and len(self.feature) > 1 else 1
            self.feature.append(MobileNetBlock(before, after, stride, step, flat))
        self.fc = nn.Linear(filters[-1], classes)

    def forward(self, x):
        outputs, signs = {}, []
        for number, block in enumerate(self.feature):
            if number == 0:
                x = block(x)
                continue
            middle, x = block(x, signs)
            outputs[f"block{number}_spatial_prelu"] = middle
            outputs[f"block{number}_pointwise_prelu"] = x
        return self.fc(x.mean((2, 3))), outputs, signs


def randomize(network, seed):
    """As if trained: no two channels alike, and activations that stay of one size."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(noise.abs() + 0.5)
        elif "prelu" in name or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(0.25 + 0.1 * noise)
        elif tensor.ndim == 4 and "move" not in name:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        elif tensor.ndim == 2 and tensor.shape[1] == 1:
            tensor.copy_(0.05 * noise)
        else:
            tensor.copy_(0.1 * noise)
    return network.eval()


def run(network, pictures):
    """Logits, blocks' outputs and what signs read, in Keras's axes and turned."""
    with torch.no_grad():
        logits, outputs, signs = network(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()))
    outputs = {name: turned(x) for name, x in outputs.items()}
    return logits.numpy(), outputs, [turned(x) for x in signs]


def turned(x):
    return x.numpy().transpose(0, 2, 3, 1)[:, ::-1, ::-1].copy()
