"""The table of layers: how one is made, and what goes into it.

`make` is read twice: with chainrule's `nn` and, where PyTorch is installed and has such a layer, with PyTorch's.
"""

from dataclasses import dataclass, field

import numpy as np

from tests.table import Spec, apart, ints, positive, within


def constant(values):
    """These numbers; no gradient is asked for."""
    return Spec(lambda rng: np.array(values))


# log(1/4) everywhere: six steps, two sequences, four classes. PyTorch's gradient is the true one only behind a log_softmax.
LOG_PROBABILITIES = constant(np.full((6, 2, 4), np.log(0.25)))
SIGNS = constant([1.0, -1, 1, -1])


@dataclass
class Layer:
    """One layer with one set of inputs, which are shapes of random floats, specs of `table.py`, or values."""

    make: str
    inputs: list
    random: bool = False  # whether training mode draws random numbers
    same_repr: bool = True  # whether PyTorch prints it in the same way
    own: bool = False  # whether PyTorch lacks it
    keywords: dict = field(default_factory=dict)
    tol: float = 1e-10

    @property
    def name(self):
        """The class: Conv2d."""
        return self.make.split("(")[0].removeprefix("nn.")

    def differentiable(self):
        """For each input, whether it is to have a gradient."""
        return [
            isinstance(one, tuple) or (isinstance(one, Spec) and one.differentiable) for one in self.inputs
        ]

    def arrays(self, seed=0):
        """The inputs as NumPy arrays (floats float64), lists or numbers."""
        rng = np.random.default_rng(seed)
        return [
            rng.normal(size=one)
            if isinstance(one, tuple)
            else one.make(rng)
            if isinstance(one, Spec)
            else one
            for one in self.inputs
        ]


ELEMENTWISE = [
    "ReLU()", "ReLU6()", "LeakyReLU(0.2)", "PReLU()", "PReLU(3)", "ELU(1.5)", "SELU()", "GELU()",
    "GELU('tanh')", "SiLU()", "Mish()", "Hardswish()", "Sigmoid()", "LogSigmoid()", "Tanh()", "Tanhshrink()",
    "Hardtanh(-0.5, 0.8)", "Softplus(2.0, 5.0)", "Softsign()", "Hardshrink(0.3)", "Softshrink(0.3)", "Threshold(0.1, 0.5)",
    "Softmax(dim=1)", "Softmin(dim=1)", "LogSoftmax(dim=1)", "Identity()",
]  # fmt: skip

LAYERS = [
    *[Layer(f"nn.{one}", [(2, 3, 4)]) for one in ELEMENTWISE],
    # PyTorch has float32 constants in these two.
    *[Layer(f"nn.{one}", [(2, 3, 4)], tol=1e-7) for one in ("CELU(0.7)", "Hardsigmoid()")],
    *[Layer(f"nn.{one}(inplace=True)", [(2, 3, 4)]) for one in ("ReLU", "SiLU", "ELU", "Hardtanh")],
    Layer("nn.RReLU(0.2, 0.4)", [(2, 3, 4)], random=True),
    Layer("nn.GLU(dim=1)", [(2, 6, 4)]),
    Layer("nn.Softmax2d()", [(2, 3, 4, 5)]),
    # matrices and shapes
    Layer("nn.Linear(3, 4)", [(2, 3)]),
    Layer("nn.Linear(3, 4, bias=False)", [(2, 5, 3)]),
    Layer("nn.Linear(3, 4)", [(3,)]),
    Layer("nn.Bilinear(3, 4, 5)", [(2, 3), (2, 4)]),
    Layer("nn.Flatten()", [(2, 3, 4)]),
    Layer("nn.Unflatten(1, (2, 3))", [(2, 6, 4)]),
    Layer("nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))", [(5, 3)]),
    # convolution
    Layer("nn.Conv1d(2, 4, 3)", [(2, 2, 9)]),
    Layer("nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2)", [(2, 9)]),
    Layer("nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=1, bias=False)", [(2, 2, 7, 6)]),
    Layer("nn.Conv2d(2, 4, 3, padding='same', dilation=2)", [(2, 2, 7, 6)]),
    Layer("nn.Conv2d(2, 4, 4, padding='same', padding_mode='circular')", [(2, 2, 7, 6)]),
    Layer("nn.Conv2d(2, 4, 3, padding=(1, 2), padding_mode='reflect')", [(2, 2, 7, 6)]),
    Layer("nn.Conv1d(2, 4, 3, padding=1, padding_mode='replicate')", [(2, 2, 7)]),
    Layer("nn.Conv3d(2, 3, 2, padding=(0, 1, 2), padding_mode='circular')", [(1, 2, 3, 4, 4)]),
    Layer("nn.Conv3d(2, 4, 2, groups=2)", [(2, 2, 4, 3, 5)]),
    Layer("nn.ConvTranspose1d(4, 2, 3, stride=2, padding=1, output_padding=1)", [(2, 4, 5)]),
    Layer("nn.ConvTranspose2d(4, 2, 3, stride=2, groups=2, dilation=2)", [(2, 4, 5, 4)]),
    Layer(
        "nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1)", [(2, 4, 5, 4)], keywords={"output_size": (10, 8)}
    ),
    Layer("nn.ConvTranspose3d(2, 3, 2, stride=2, bias=False)", [(1, 2, 2, 3, 2)]),
    Layer("nn.Unfold((2, 3), padding=1, stride=2)", [(2, 3, 5, 6)]),
    Layer("nn.Fold((4, 5), 2)", [(2, 12, 12)]),
    # pooling
    Layer("nn.MaxPool1d(3, 2, 1)", [apart((2, 3, 8))]),
    Layer("nn.MaxPool2d(2)", [apart((2, 3, 6, 7))]),
    Layer("nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)", [apart((2, 3, 6, 7))]),
    Layer("nn.MaxPool2d(2, return_indices=True)", [apart((2, 3, 6, 7))]),
    Layer("nn.MaxPool3d(2, dilation=2)", [apart((1, 2, 5, 5, 5))]),
    Layer("nn.AvgPool1d(2)", [(2, 3, 7)]),
    Layer("nn.AvgPool2d(3, 2, 1, count_include_pad=False)", [(2, 3, 6, 7)]),
    Layer("nn.AvgPool2d(2, divisor_override=3)", [(2, 3, 6, 7)]),
    Layer("nn.AvgPool3d(2, ceil_mode=True)", [(1, 2, 5, 4, 5)]),
    Layer("nn.LPPool1d(2, 3)", [positive((2, 3, 7))]),
    Layer("nn.LPPool2d(3, 2, stride=1)", [positive((2, 3, 5, 5))]),
    Layer("nn.LPPool3d(3, 2)", [positive((1, 2, 4, 5, 4))]),
    Layer("nn.FractionalMaxPool2d(2, output_size=(3, 2))", [apart((2, 3, 6, 5))], random=True),
    Layer(
        "nn.FractionalMaxPool3d((2, 1, 2), output_ratio=(0.5, 0.6, 0.5))",
        [apart((1, 2, 6, 5, 4))],
        random=True,
    ),
    Layer("nn.AdaptiveAvgPool1d(3)", [(2, 3, 7)]),
    Layer("nn.AdaptiveAvgPool2d((2, None))", [(2, 3, 5, 4)]),
    Layer("nn.AdaptiveAvgPool3d(2)", [(1, 2, 5, 4, 3)]),
    Layer("nn.AdaptiveMaxPool1d(3)", [apart((2, 3, 7))]),
    Layer("nn.AdaptiveMaxPool2d((2, 3))", [apart((2, 3, 5, 4))]),
    Layer("nn.AdaptiveMaxPool3d(2)", [apart((1, 2, 5, 4, 3))]),
    Layer("nn.MaxUnpool1d(2)", [(1, 2, 3), [[[0, 3, 5], [1, 2, 4]]]]),
    Layer("nn.MaxUnpool2d(2)", [(1, 1, 2, 2), [[[[0, 3], [9, 14]]]]]),
    Layer("nn.MaxUnpool3d(2)", [(1, 1, 1, 1, 2), [[[[[5, 2]]]]]]),
    # resizing
    Layer("nn.Upsample(scale_factor=(1.5, 2.0), mode='bicubic')", [(1, 2, 4, 5)]),
    Layer("nn.Upsample(7, mode='linear', align_corners=True)", [(2, 3, 5)]),
    Layer("nn.UpsamplingNearest2d(scale_factor=2)", [(1, 2, 3, 4)]),
    Layer("nn.UpsamplingBilinear2d((5, 7))", [(1, 2, 3, 4)]),
    Layer("nn.PixelShuffle(2)", [(2, 8, 3, 2)]),
    Layer("nn.PixelUnshuffle(2)", [(2, 3, 4, 6)]),
    Layer("nn.ChannelShuffle(3)", [(2, 6, 3)]),
    # normalization
    Layer("nn.BatchNorm1d(3)", [(5, 3)]),
    Layer("nn.BatchNorm1d(3, momentum=None)", [(5, 3, 4)]),
    Layer("nn.BatchNorm2d(3, affine=False)", [(4, 3, 2, 3)]),
    Layer("nn.BatchNorm2d(3, eps=0.01, momentum=0.3)", [(4, 3, 2, 3)]),
    Layer("nn.BatchNorm3d(2, track_running_stats=False)", [(3, 2, 2, 3, 2)]),
    Layer("nn.LayerNorm(4)", [(2, 3, 4)]),
    Layer("nn.LayerNorm((3, 4), eps=0.1, bias=False)", [(2, 3, 4)]),
    Layer("nn.RMSNorm(4)", [(2, 3, 4)]),
    Layer("nn.RMSNorm((3, 4), eps=0.1, elementwise_affine=False)", [(2, 3, 4)]),
    Layer("nn.GroupNorm(2, 4)", [(2, 4, 3)]),
    Layer("nn.GroupNorm(4, 4, affine=False)", [(2, 4, 3, 2)]),
    Layer("nn.InstanceNorm1d(3)", [(2, 3, 5)]),
    Layer("nn.InstanceNorm1d(3)", [(3, 5)]),
    Layer("nn.InstanceNorm2d(3, affine=True, track_running_stats=True)", [(2, 3, 4, 5)]),
    Layer("nn.InstanceNorm3d(2, affine=True)", [(2, 2, 2, 3, 2)]),
    Layer("nn.LocalResponseNorm(3, alpha=0.1, beta=0.6, k=2.0)", [(2, 5, 3)]),
    # dropout
    *[
        Layer(f"nn.{one}(0.4)", [(4, 3, 5)], random=True)
        for one in ("Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout")
    ],
    Layer("nn.Dropout2d(0.4)", [(2, 3, 4, 5)], random=True),
    Layer("nn.Dropout3d(0.4)", [(2, 3, 2, 4, 5)], random=True),
    # tables
    Layer("nn.Embedding(7, 3)", [ints(0, 7, (2, 5))]),
    Layer("nn.Embedding(7, 3, padding_idx=2)", [ints(0, 7, (4, 5))]),
    Layer("nn.Embedding(7, 3, max_norm=1.0)", [ints(0, 7, (4, 5))]),
    Layer("nn.Embedding(7, 3, scale_grad_by_freq=True)", [ints(0, 7, (4, 5))]),
    Layer("nn.EmbeddingBag(7, 3)", [ints(0, 7, (4, 5))]),
    Layer("nn.EmbeddingBag(7, 3, mode='sum', padding_idx=1)", [ints(0, 7, (4, 5))]),
    Layer("nn.EmbeddingBag(7, 3, mode='max')", [ints(0, 7, (6,)), [0, 2, 3]]),
    # padding
    Layer("nn.ConstantPad1d((1, 2), 0.5)", [(2, 3, 4)]),
    Layer("nn.ConstantPad2d(1, 2.5)", [(2, 3, 4)]),
    Layer("nn.ConstantPad3d(1, -1.0)", [(2, 3, 2, 2)]),
    *[
        Layer(f"nn.{kind}Pad1d((1, 2))", [(2, 3, 4)])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
    ],
    *[
        Layer(f"nn.{kind}Pad2d((1, 2, 0, 1))", [(2, 3, 4, 3)])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
    ],
    *[
        Layer(f"nn.{kind}Pad3d(1)", [(1, 2, 3, 2, 4)])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
    ],
    # losses
    *[
        Layer(f"nn.{loss}", [(4, 3), (4, 3)])
        for loss in (
            "L1Loss()",
            "MSELoss(reduction='sum')",
            "MSELoss()",
            "SmoothL1Loss(beta=0.5)",
            "HuberLoss(delta=0.7)",
            "L1Loss(reduction='none')",
            "PoissonNLLLoss()",
            "CosineSimilarity(dim=1)",
            "PairwiseDistance(p=3)",
        )
    ],
    Layer("nn.KLDivLoss(reduction='batchmean')", [(4, 3), positive((4, 3))]),
    Layer("nn.KLDivLoss(reduction='sum', log_target=True)", [(4, 3), (4, 3)]),
    Layer("nn.PoissonNLLLoss(log_input=False, full=True)", [positive((4, 3)), positive((4, 3))]),
    Layer("nn.GaussianNLLLoss(full=True)", [(4, 3), (4, 3), positive((4, 3))]),
    Layer(
        "nn.CTCLoss(reduction='sum')",
        [LOG_PROBABILITIES, ints(1, 4, (2, 3)), constant([6, 5]), constant([3, 2])],
    ),
    Layer("nn.NLLLoss()", [(4, 3), ints(0, 3, (4,))]),
    Layer("nn.NLLLoss(ignore_index=1, reduction='sum')", [(4, 3, 2), ints(0, 3, (4, 2))]),
    Layer("nn.CrossEntropyLoss()", [(4, 3), ints(0, 3, (4,))]),
    Layer("nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=2)", [(4, 3), ints(0, 3, (4,))]),
    Layer("nn.CrossEntropyLoss(reduction='none')", [(4, 3, 2, 2), ints(0, 3, (4, 2, 2))]),
    Layer("nn.CrossEntropyLoss(label_smoothing=0.2)", [(4, 3), within(0.1, 0.6, (4, 3))]),
    Layer("nn.BCELoss()", [within(0.1, 0.9, (4, 3)), within(0.1, 0.9, (4, 3))]),
    Layer("nn.BCEWithLogitsLoss()", [(4, 3), within(0.1, 0.9, (4, 3))]),
    Layer("nn.MarginRankingLoss(0.2)", [(4,), (4,), SIGNS]),
    Layer("nn.HingeEmbeddingLoss(0.8)", [(4,), SIGNS]),
    Layer("nn.SoftMarginLoss()", [(4,), SIGNS]),
    Layer("nn.MultiMarginLoss(p=2, margin=0.6)", [(4, 3), ints(0, 3, (4,))]),
    Layer("nn.MultiLabelMarginLoss()", [(2, 4), [[3, 0, -1, 1], [1, -1, 0, 2]]]),
    Layer("nn.MultiLabelSoftMarginLoss()", [(2, 4), constant([[1.0, 0, 0, 1], [0, 1, 1, 1]])]),
    Layer("nn.CosineEmbeddingLoss(margin=0.1)", [(4, 3), (4, 3), SIGNS]),
    Layer("nn.TripletMarginLoss(swap=True)", [(4, 3), (4, 3), (4, 3)]),
    Layer("nn.TripletMarginWithDistanceLoss(margin=0.5)", [(4, 3), (4, 3), (4, 3)], same_repr=False),
    Layer("nn.LinearCrossEntropyLoss(3, 4, bias=True)", [(5, 3), ints(0, 4, (5,))]),
    Layer(
        "nn.LinearCrossEntropyLoss(3, 4, out_features=(2,), label_smoothing=0.1)",
        [(5, 3), ints(0, 4, (5, 2))],
    ),
    # attention; PyTorch prints the class of a layer's own kind of Linear
    Layer("nn.MultiheadAttention(4, 2)", [(5, 2, 4), (3, 2, 4), (3, 2, 4)], same_repr=False),
    Layer(
        "nn.MultiheadAttention(4, 2, dropout=0.5, kdim=3, vdim=2, add_bias_kv=True, add_zero_attn=True, batch_first=True)",
        [(2, 5, 4), (2, 3, 3), (2, 3, 2)],
        random=True,
        same_repr=False,
    ),
    Layer("nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0)", [(5, 2, 4)], same_repr=False),
    Layer(
        "nn.TransformerDecoderLayer(4, 2, 6, norm_first=True)",
        [(5, 2, 4), (3, 2, 4)],
        random=True,
        same_repr=False,
    ),
    # Without batch_first and this keyword PyTorch warns that it will not be at its fastest.
    Layer(
        "nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, 0.0), 2, enable_nested_tensor=False)",
        [(5, 4)],
        same_repr=False,
    ),
    Layer(
        "nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 6, 0.0, 'gelu'), 2, nn.LayerNorm(4))",
        [(5, 4), (3, 4)],
        same_repr=False,
    ),
    Layer("nn.Transformer(4, 2, 1, 1, 6, 0.0, batch_first=True)", [(2, 3, 4), (2, 5, 4)], same_repr=False),
    # recurrent
    Layer("nn.RNN(3, 4, nonlinearity='relu')", [(5, 2, 3)]),
    Layer("nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)", [(2, 5, 3)]),
    Layer("nn.GRU(3, 4, bias=False)", [(5, 3)]),
    Layer("nn.RNNCell(3, 4)", [(2, 3), (2, 4)]),
    Layer("nn.LSTMCell(3, 4)", [(2, 3)]),
    Layer("nn.GRUCell(3, 4)", [(2, 3), (2, 4)]),
    Layer(
        "nn.AdaptiveLogSoftmaxWithLoss(6, 9, [3, 6], div_value=2.0)", [(20, 6), constant(np.arange(20) % 9)]
    ),
    Layer("nn.DataParallel(nn.Linear(3, 4))", [(2, 3)]),
    # layers of the literature that PyTorch lacks
    Layer("nn.SyncBatchNorm(3)", [(4, 3, 2)], own=True),
    Layer("nn.Dropout(0.4, rescale='test')", [(4, 3, 5)], random=True, own=True),
    Layer("nn.Dropout(0.4, shared=0)", [(4, 3, 5)], random=True, own=True),
    Layer("nn.Maxout(3, 4, pieces=2)", [(2, 3)], own=True),
    Layer("nn.LocallyConnected1d(2, 3, 8, 3, stride=2, padding=1)", [(2, 2, 8)], own=True),
    Layer("nn.LocallyConnected2d(2, 3, (5, 6), (2, 3), dilation=2)", [(2, 2, 5, 6)], own=True),
    Layer("nn.LocallyConnected2d(2, 3, 4, 2, bias=False)", [(2, 4, 4)], own=True),
    Layer("nn.HingeLoss()", [(4,), SIGNS], own=True),
    Layer("nn.PerceptronLoss(reduction='sum')", [(4,), SIGNS], own=True),
    Layer("nn.EpsilonInsensitiveLoss(0.3)", [(4, 3), (4, 3)], own=True),
    Layer("nn.HalfSquaredLoss(reduction='none')", [(4, 3), (4, 3)], own=True),
    *[
        Layer(f"nn.LSTMVariant(3, 4{one})", [(5, 2, 3)], own=True)
        for one in (
            "",
            ", peephole='full'",
            ", peephole='gates', feedback=False",
            ", peephole='diagonal', coupled=True",
            ", forget_gate=False, batch_first=True",
            ", forget_bias=1.0",
        )
    ],
    Layer("nn.JordanRNN(3, 4, 2, output_nonlinearity='sigmoid')", [(5, 3)], own=True),
    Layer("nn.ClockworkRNN(3, 6, periods=(1, 2, 3))", [(5, 2, 3)], own=True),
    Layer("nn.SCRN(3, 4, 2)", [(5, 2, 3)], own=True),
    Layer("nn.AdditiveAttention(3, 4, 5)", [(2, 3), (2, 6, 4)], own=True),
    Layer("nn.DotProductAttention()", [(2, 3), (2, 6, 3)], own=True),
    *[
        Layer(
            f"nn.Seq2Seq(4, 5, 2, embedding_size=3, attention={attention!r})",
            [ints(0, 4, (2, 3)), ints(0, 5, (2, 2))],
            own=True,
        )
        for attention in (None, "additive", "dot")
    ],
]
