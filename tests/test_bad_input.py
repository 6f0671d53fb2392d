"""Layers, losses and optimizers with input that does not fit: each refusal says who refuses and names what is wrong.

What is no tensor at all, and every operation's arguments, are in `test_invalid_calls.py`.
"""

import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn.utils import rnn
from chainrule.optim import lr_scheduler

F = nn.functional
ones = cr.ones


def whole(*values):
    return cr.tensor(values, dtype=cr.int64)


def parameter():
    return ones(2, requires_grad=True)


def sgd(**options):
    return optim.SGD([parameter()], lr=0.1, **options)


def packed(sizes, features=3, elements=5):
    """A PackedSequence made by hand."""
    return rnn.PackedSequence(ones(elements, features), whole(*sizes))


def saved(state=None, **options):
    """A state dict of SGD with some entries changed."""
    (group,) = sgd().state_dict()["param_groups"]
    return {"state": state or {}, "param_groups": [{**group, **options}]}


CHANNELS = [
    (lambda: nn.Maxout(2, 3, 0), ValueError, "Maxout: pieces must be a positive int, got 0"),
    (lambda: nn.Conv1d(2, 4, 3)(ones(1, 3, 8)), RuntimeError, r"conv1d.* takes 2 input channels.*\(1, 3, 8\) has 3"),
    (lambda: nn.Conv3d(2, 4, 3)(ones(1, 3, 8, 8, 8)), RuntimeError, "conv3d.* takes 2 input channels.* has 3"),
    (lambda: nn.Conv2d(4, 4, 3, groups=2)(ones(1, 2, 8, 8)), RuntimeError, "groups=2 takes 4 input channels.* has 2"),
    (lambda: nn.ConvTranspose2d(2, 4, 3)(ones(1, 3, 8, 8)), RuntimeError, "conv_transpose2d.* takes 2 .* has 3"),
    (lambda: nn.Conv2d(1, 2, 3, stride=0)(ones(1, 1, 4, 4)), RuntimeError, r"conv2d: stride .* at least 1, got \(0, 0\)"),
    (lambda: nn.Conv2d(1, 2, 3, padding=-1)(ones(1, 1, 6, 6)), RuntimeError, "conv2d: padding must be at least 0"),
    (lambda: nn.Conv2d(1, 2, 3, dilation=0)(ones(1, 1, 4, 4)), RuntimeError, "conv2d: dilation must be at least 1"),
    (lambda: nn.Conv2d(1, 2, 3)(ones(1, 1, 5, 5, dtype=cr.int64)), RuntimeError, "one dtype, got int64, float32"),
    (lambda: nn.Linear(3, 2)(cr.tensor(1.0)), RuntimeError, r"linear: an input of shape \(\)"),
    (lambda: nn.Linear(3, 2)(ones(4, 3).long()), RuntimeError, "linear: .* one dtype, got .*int64"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5))(ones(1, 2)), RuntimeError, r"linear.*\(1, 3\).*\(5, 4\)"),
    (lambda: nn.Bilinear(2, 3, 4)(ones(5, 2), ones(6, 3)), RuntimeError, r"bilinear.*\(5, 2\) and \(6, 3\)"),
    (lambda: nn.BatchNorm2d(3)(ones(2, 4, 5, 5)), RuntimeError, r"batch_norm.*\(3,\).*\(2, 4, 5, 5\), which has 4 channels"),
    (lambda: nn.BatchNorm1d(3, eps=-1), ValueError, "eps must not be negative, got -1"),
    (lambda: nn.LayerNorm((3, 4))(ones(3)), RuntimeError, r"layer_norm: normalized_shape \(3, 4\).*\(3,\)"),
    (lambda: nn.RMSNorm(4)(ones(2, 3)), RuntimeError, r"rms_norm: normalized_shape \(4,\).*\(2, 3\)"),
    (lambda: nn.GroupNorm(0, 4), ValueError, "num_channels=4 .* num_groups=0"),
    (lambda: nn.GroupNorm(2, 4)(ones(1, 6, 3)), RuntimeError, r"group_norm.*\(4,\).*\(1, 6, 3\), which has 6 channels"),
    (lambda: nn.InstanceNorm2d(3)(ones(3, 3)), ValueError, r"InstanceNorm2d: expected 3-d or 4-d.*\(3, 3\)"),
    (lambda: nn.PReLU(3)(ones(2, 4)), RuntimeError, r"prelu: weight of 3 elements.*\(2, 4\), which has 4 channel"),
    (lambda: nn.PixelShuffle(2)(ones(1, 3, 4, 4)), RuntimeError, r"upscale_factor\^2 = 4, got shape \(1, 3, 4, 4\)"),
    (lambda: nn.ChannelShuffle(2)(ones(1, 3, 2, 2)), RuntimeError, r"channel_shuffle: groups .* channels 3"),
    (lambda: nn.Fold((4, 4), 2)(ones(1, 3, 9)), RuntimeError, r"fold: dimension 1 .*\(1, 3, 9\).* 4 elements"),
    (lambda: nn.Maxout(2, 3)(ones(2, 5)), RuntimeError, r"\(2, 5\).*\(6, 2\)"),
    (lambda: nn.MaxPool2d(0)(ones(1, 1, 4, 4)), RuntimeError, "max_pool2d: kernel_size must be at least 1, got 0"),
    (lambda: nn.MaxPool2d(2, padding=2)(ones(1, 1, 4, 4)), RuntimeError, r"max_pool2d: padding \(2, 2\) is more than half"),
    (lambda: nn.AdaptiveAvgPool2d((1, 2, 3))(ones(1, 1, 4, 4)), RuntimeError, r"an int or 2 of them, got 3: \(1, 2, 3\)"),
    (lambda: nn.MaxUnpool2d(2)(ones(1, 1, 2, 2), ones(1, 1, 2, 2)), TypeError, "max_unpool2d: index must be an integer"),
    (lambda: nn.Upsample(size=3, scale_factor=2)(ones(1, 1, 4, 4)), ValueError, "either size or scale_factor"),
    (lambda: nn.ReflectionPad1d(5)(ones(1, 3)), RuntimeError, r'"reflect" can add at most 2 .*\(1, 3\)'),
]  # fmt: skip

SEQUENCES = [
    (lambda: rnn.pack_padded_sequence(ones(5), [5]), ValueError, r"pack_padded_sequence: expected \(T, B, \*\).* got shape \(5,\)"),
    (lambda: rnn.pack_padded_sequence("text", [5]), TypeError, "pack_padded_sequence: expected a Tensor, got str"),
    (lambda: rnn.pad_packed_sequence(ones(2, 3)), TypeError, "pad_packed_sequence: expected a PackedSequence, got Tensor"),
    (lambda: rnn.unpack_sequence(ones(2, 3)), TypeError, "unpack_sequence: expected a PackedSequence, got Tensor"),
    (lambda: nn.LSTM(3, 4)(packed([1, 2, 2])), ValueError, r"LSTM: batch_sizes .* do not rise, got \[1, 2, 2\]"),
    (lambda: nn.GRU(3, 4)(packed([5, 0])), ValueError, r"GRU: batch_sizes .* positive ints .* got \[5, 0\]"),
    (lambda: nn.GRU(3, 4)(packed([2, 2])), ValueError, r"GRU: batch_sizes \[2, 2\] .* add up to 4, .* shape \(5, 3\)"),
    (lambda: nn.LSTM(3, 4)(packed([2, 2, 2])), ValueError, "LSTM: batch_sizes .* add up to 6"),
    (lambda: rnn.pad_packed_sequence(packed([2, 2])), ValueError, "pad_packed_sequence: batch_sizes .* add up to 4"),
    (lambda: nn.RNN(3, 4)(rnn.PackedSequence(ones(5, 3), cr.tensor([2.0, 2, 1]))), ValueError, "RNN: batch_sizes .* ints"),
    (lambda: nn.Embedding(3, 2)(whole(0, 3)), IndexError, "embedding: index 3 .* 3 rows"),
    (lambda: nn.Embedding(3, 2)(whole(-1)), IndexError, "embedding: index -1 .* 3 rows"),
    (lambda: nn.EmbeddingBag(3, 2)(whole(1, 7), whole(0)), IndexError, "embedding_bag: index 7 .* 3 rows"),
    (lambda: nn.EmbeddingBag(3, 2)(whole(1, 2), whole(1)), IndexError, "first offset 1 .* starts at 0"),
    (lambda: nn.EmbeddingBag(3, 2)(whole(1, 2), whole(0, 5)), IndexError, "offset 5 .* 2 elements"),
    (lambda: nn.EmbeddingBag(3, 2, mode="median")(whole(1), whole(0)), ValueError, "sum, mean, max, got 'median'"),
    (lambda: rnn.pack_padded_sequence(ones(5, 2, 3), [6, 5]), RuntimeError, r"from 1 to 5, got \[6, 5\]"),
    (lambda: rnn.pack_padded_sequence(ones(5, 2, 3), [5, 0]), RuntimeError, r"from 1 to 5, got \[5, 0\]"),
    (lambda: rnn.pack_padded_sequence(ones(5, 2, 3), [3, 5]), RuntimeError, r"\[3, 5\]; pass enforce_sorted=False"),
    (lambda: rnn.pack_padded_sequence(ones(5, 2, 3), [5]), ValueError, r"1 lengths for an input with 2 sequences"),
    (lambda: rnn.pack_padded_sequence(ones(5, 2, 3), [5, 2.5]), ValueError, r"whole numbers .*\[5, 2.5\]"),
    (lambda: rnn.pack_sequence([]), RuntimeError, "expected a list of Tensors"),
    (lambda: rnn.pack_sequence([ones(3, 3), ones(2, 4)]), RuntimeError, r"\[\(3, 3\), \(2, 4\)\]"),
    (lambda: rnn.pad_sequence([ones(2, 3)], padding_side="up"), ValueError, "padding_side .* got 'up'"),
    (lambda: rnn.pad_packed_sequence(packed([2, 2, 1]), total_length=2), ValueError, "total_length=2 .* longest sequence, 3"),
    (lambda: nn.LSTM(3, 4)(packed([2, 2, 1], features=7)), RuntimeError, r"LSTM: .* input_size \(3\), got 7"),
    (lambda: nn.GRU(3, 4)(packed([2, 2, 1]), ones(1, 3, 4)), RuntimeError, r"h_0 of shape \(1, 2, 4\), got \(1, 3, 4\)"),
    (lambda: nn.LSTM(3, 4)(packed([2, 2, 1]), ones(1, 2, 4)), TypeError, r"LSTM: hx must be the pair \(h_0, c_0\)"),
    (lambda: nn.GRU(0, 3), ValueError, "GRU: input_size must be greater than 0, got 0"),
    (lambda: nn.MultiheadAttention(5, 2), ValueError, "embed_dim and num_heads .* 5 and 2"),
    (lambda: nn.MultiheadAttention(4, 2)(*[ones(3, 1, 5)] * 3), RuntimeError, r"expected 4 features.*\(3, 1, 5\)"),
    (lambda: nn.MultiheadAttention(4, 2)(ones(3, 1, 4), ones(3, 1, 4), ones(2, 1, 4)), RuntimeError, r"value \(S, N, E\).*\(2, 1, 4\)"),
    (lambda: nn.MultiheadAttention(4, 2)(*[ones(3, 1, 4)] * 3, attn_mask=ones(2, 2)), RuntimeError, r"attn_mask of shape \(3, 3\).* got \(2, 2\)"),
    (lambda: nn.Transformer(4, 2, 1, 1, 8)(ones(3, 1, 4), ones(3, 2, 4)), RuntimeError, r"of one batch.*\(3, 1, 4\) and \(3, 2, 4\)"),
    (lambda: nn.TransformerEncoderLayer(4, 2, activation="abs"), RuntimeError, "'relu', 'gelu' or a function, got 'abs'"),
]  # fmt: skip

LOSSES = [
    (lambda: nn.CTCLoss()(ones(4, 1, 3), cr.tensor([[1, 5]]), [4], [2]), IndexError, "ctc_loss: target 5 .* 3 classes"),
    (lambda: nn.CTCLoss()(ones(4, 1, 3), cr.tensor([[1, -2]]), [4], [2]), IndexError, "ctc_loss: target -2 .* 3 classes"),
    (lambda: nn.NLLLoss()(ones(3), whole(0, 1)), ValueError, r"nll_loss: class numbers of shape \(2,\).*\(3,\)"),
    (lambda: nn.CrossEntropyLoss()(ones(2, 3), whole(0, 3)), IndexError, "cross_entropy: target 3 .* 3 classes"),
    (lambda: nn.CrossEntropyLoss()(ones(2, 3), whole(0, -1)), IndexError, "cross_entropy: target -1"),
    (lambda: nn.CrossEntropyLoss()(ones(2, 3, 4), whole(0, 1)), ValueError, r"\(2,\) do not fit .*\(2, 3, 4\); expected \(2, 4\)"),
    (lambda: nn.CrossEntropyLoss()(ones(2, 3), cr.tensor([0.0, 1])), ValueError, r"\(2,\).*\(2, 3\).*\.long\(\)"),
    (lambda: nn.CrossEntropyLoss(weight=ones(2))(ones(2, 3), whole(0, 1)), RuntimeError, r"weight has shape \(2,\).* 3 classes"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=-1)(ones(2, 3), whole(0, 1)), RuntimeError, "label_smoothing .* got -1"),
    (lambda: nn.CrossEntropyLoss(reduction="all"), ValueError, "CrossEntropyLoss: 'all' .*reduction"),
    (lambda: nn.NLLLoss()(ones(2, 3), whole(0, -1)), IndexError, "nll_loss: target -1 .* 3 classes"),
    (lambda: nn.NLLLoss()(ones(3), cr.tensor(5)), IndexError, "nll_loss: target 5 .* 3 classes"),
    (lambda: nn.MultiMarginLoss()(ones(2, 3), whole(0, 5)), IndexError, "multi_margin_loss: target 5 .* 3 classes"),
    (lambda: nn.MultiLabelMarginLoss()(ones(1, 3), cr.tensor([[0, 5, -1]])), IndexError, "multilabel_margin_loss: target 5 .* 3 classes"),
    (lambda: nn.LinearCrossEntropyLoss(4, 5)(ones(3, 4), whole(0, 1, 7)), IndexError, "target 7 .* 5 classes"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2])(ones(3, 4), whole(0, 1, 5)), RuntimeError, "targets must be from 0 to 4"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [5, 3]), ValueError, r"cutoffs must be ints that rise .*\[5, 3\]"),
    (lambda: nn.BCELoss()(2 * ones(2), ones(2)), RuntimeError, "binary_cross_entropy: .* between 0 and 1, found 2.0"),
    (lambda: nn.BCELoss()(ones(2), ones(3)), ValueError, r"binary_cross_entropy: target of shape \(3,\).*\(2,\)"),
    (lambda: nn.BCEWithLogitsLoss()(ones(2), ones(3)), ValueError, r"with_logits: target of shape \(3,\).*\(2,\)"),
    (lambda: nn.MultiLabelSoftMarginLoss()(ones(2, 3), ones(2, 4)), RuntimeError, r"\(2, 4\) must have the shape of the input, \(2, 3\)"),
    (lambda: nn.CosineEmbeddingLoss()(ones(2, 3), ones(2, 4), ones(2)), RuntimeError, r"cosine_embedding_loss: .*\(2, 3\) and \(2, 4\)"),
    (lambda: nn.GaussianNLLLoss()(ones(2), ones(2), ones(3)), ValueError, r"gaussian_nll_loss: var of shape \(3,\).*\(2,\)"),
    (lambda: nn.SoftMarginLoss()(ones(2), ones(3)), RuntimeError, r"soft_margin_loss: target of shape \(3,\).*\(2,\)"),
    (lambda: nn.PerceptronLoss()(ones(2), ones(3)), RuntimeError, r"perceptron_loss: target of shape \(3,\).*\(2,\)"),
    (lambda: nn.HuberLoss(delta=-1)(ones(2), ones(2)), RuntimeError, "huber_loss: delta .* got -1"),
    (lambda: nn.SmoothL1Loss(beta=-1)(ones(2), ones(2)), RuntimeError, "smooth_l1_loss: beta .* got -1"),
    (lambda: nn.TripletMarginLoss(margin=-1)(*[ones(2, 3)] * 3), ValueError, "triplet_margin_loss: margin .* got -1"),
    (lambda: nn.CTCLoss(blank=-1)(ones(4, 1, 3), cr.tensor([[1, 1]]), [4], [2]), RuntimeError, "blank must be one of the 3 classes, got -1"),
]  # fmt: skip

RATES = [
    "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adagrad", "Adadelta", "ASGD", "Adafactor", "LBFGS", "SparseAdam",
]  # fmt: skip

OPTIMIZERS = [
    (lambda: optim.SGD([parameter()], lr=None), TypeError, "SGD: lr must be a number, got None"),
    (lambda: optim.Adam([parameter()], lr="fast"), TypeError, "Adam: lr must be a number, got 'fast'"),
    (lambda: optim.Adam([parameter()], betas=0.9), ValueError, "Adam: betas must be a pair of numbers, got 0.9"),
    (lambda: optim.Adam([parameter()], betas=(0.9,)), ValueError, "Adam: betas must be a pair"),
    (lambda: optim.Adam([parameter()], betas=(0.9, 0.99, 0.999)), ValueError, "Adam: betas must be a pair"),
    (lambda: optim.Rprop([parameter()], etas=3), ValueError, "Rprop: etas must be a pair of numbers, got 3"),
    (lambda: optim.Rprop([parameter()], step_sizes=(3, 2)), ValueError, r"Rprop: step_sizes .* got \(3, 2\)"),
    (lambda: sgd().step(closure=3), TypeError, "SGD.step: closure must be a function .* got 3"),
    (lambda: sgd().load_state_dict(3), TypeError, "SGD: expected a state dict, got int"),
    (lambda: sgd().load_state_dict({**saved(), "state": 3}), TypeError, "SGD: 'state' of a state dict is a dict, got int"),
    (lambda: lr_scheduler.StepLR(sgd(), "a"), ValueError, "StepLR: step_size must be positive, got a"),
    (lambda: lr_scheduler.CyclicLR(sgd(), 0.1, 0.2, step_size_up=0, cycle_momentum=False), ValueError, "CyclicLR: step_size_up .* got 0"),
    (lambda: optim.IterateAverage([]), TypeError, "IterateAverage: expected a list of Tensors"),
    (lambda: optim.swa_utils.AveragedModel(3), TypeError, "AveragedModel: expected a Module, got int"),
    *(
        (lambda name=name: getattr(optim, name)([parameter()], lr=-0.5), ValueError, f"{name}: lr must be at least 0, got -0.5")
        for name in RATES
    ),
    *(
        (lambda name=name: getattr(optim, name)(iter([])), ValueError, f"{name}: there are no parameters")
        for name in RATES
    ),
    (lambda: sgd(momentum=-1), ValueError, "SGD: momentum must be at least 0, got -1"),
    (lambda: sgd(weight_decay=-1), ValueError, "SGD: weight_decay must be at least 0, got -1"),
    (lambda: sgd(nesterov=True), ValueError, "SGD: nesterov needs momentum > 0"),
    (lambda: optim.SGD([parameter()], lr=float("nan")), ValueError, "SGD: lr .* got nan"),
    (lambda: optim.SGD([{"params": [parameter()], "lr": -1}], lr=0.1), ValueError, "SGD: lr .* got -1"),
    (lambda: optim.SGD([{"parameters": [parameter()]}], lr=0.1), ValueError, r"key 'params', got \['parameters'\]"),
    (lambda: optim.SGD([2 * parameter()], lr=0.1), ValueError, r"non-leaf Tensor \(shape \(2,\), made by <MulBackward0>\)"),
    (lambda: sgd(learning_rate=0.1), TypeError, "learning_rate"),
    (lambda: optim.Adam([parameter()], betas=(1.0, 0.9)), ValueError, r"Adam: betas\[0\] .* got 1.0"),
    (lambda: optim.AdamW([parameter()], betas=(0.9, -0.1)), ValueError, r"AdamW: betas\[1\] .* got -0.1"),
    (lambda: optim.Adam([parameter()], eps=-1), ValueError, "Adam: eps must be at least 0, got -1"),
    (lambda: optim.RMSprop([parameter()], alpha=-1), ValueError, "RMSprop: alpha .* got -1"),
    (lambda: optim.Adadelta([parameter()], rho=2), ValueError, "Adadelta: rho .* got 2"),
    (lambda: optim.Rprop([parameter()], etas=(1.5, 1.2)), ValueError, r"Rprop: etas .* got \(1.5, 1.2\)"),
    (lambda: optim.Muon([parameter()]), ValueError, r"Muon: parameters must be matrices, got one of shape \(2,\)"),
    (lambda: optim.LBFGS([{"params": [parameter()]}, {"params": [parameter()]}]), ValueError, "LBFGS: .* one parameter group"),
    (lambda: optim.LBFGS([parameter()], history_size=0), ValueError, "LBFGS: history_size .* got 0"),
    (lambda: optim.LBFGS([parameter()]).step(), TypeError, "closure"),
    (lambda: sgd().add_param_group(3), TypeError, "SGD: a parameter group must be a dict, got int"),
    (lambda: sgd().load_state_dict({"state": {}}), ValueError, r"'state' and 'param_groups', got \['state'\]"),
    (lambda: sgd().load_state_dict({"state": {}, "param_groups": []}), ValueError, "has 0 parameter groups, the optimizer has 1"),
    (lambda: sgd().load_state_dict(saved(params=[0, 1])), ValueError, "group 0 has 2 parameters in the state dict, 1 in"),
    (lambda: sgd().load_state_dict(saved({5: {"momentum_buffer": ones(2)}})), ValueError, "state for parameter 5, which is in none"),
    (lambda: sgd().load_state_dict(saved({0: {"momentum_buffer": ones(3)}})), ValueError, r"'momentum_buffer' of parameter 0 has shape \(3,\).*\(2,\)"),
    (lambda: sgd().load_state_dict(saved({0: {"velocity": ones(2)}})), ValueError, r"unknown \['velocity'\]"),
    (lambda: sgd().load_state_dict(saved(lr=-1)), ValueError, "SGD: lr must be at least 0, got -1"),
    (lambda: optim.Adam([parameter()]).load_state_dict(saved()), ValueError, "Adam: parameter group 0 .* no 'betas'; was it saved by another"),
    (lambda: lr_scheduler.StepLR(sgd(), 0), ValueError, "StepLR: step_size must be positive, got 0"),
    (lambda: lr_scheduler.CosineAnnealingLR(sgd(), 0), ValueError, "CosineAnnealingLR: T_max .* got 0"),
    (lambda: lr_scheduler.OneCycleLR(sgd(), 0.1, total_steps=-1), ValueError, "OneCycleLR: .* got -1"),
    (lambda: lr_scheduler.LambdaLR(sgd(), 3), TypeError, "LambdaLR: lr_lambda must be a function, got int"),
    (lambda: lr_scheduler.ReduceLROnPlateau(sgd(), factor=1.5), ValueError, "factor must be below 1, got 1.5"),
    (lambda: lr_scheduler.SequentialLR(sgd(), [], []), ValueError, "SequentialLR: expected at least one scheduler"),
]  # fmt: skip

MODULES = [
    (lambda: nn.utils.clip_grad_value_([3], 1), TypeError, "expected Tensors, got int"),
    (lambda: nn.utils.clip_grad_value_([parameter()], -1), ValueError, "clip_value must be at least 0, got -1"),
    (lambda: nn.Linear(2, 2).load_state_dict({"weight": ones(2, 2)}), RuntimeError, "(?s)Linear.*bias"),
    (lambda: nn.Linear(2, 2).load_state_dict({"weight": ones(2, 2), "bias": ones(2), "tail": ones(1)}), RuntimeError, "(?s)Linear.*tail"),
    (lambda: nn.Linear(2, 2).load_state_dict({"weight": ones(2, 3), "bias": ones(2)}), RuntimeError, r"(?s)weight.*\(2, 3\).*\(2, 2\)"),
    (lambda: nn.Linear(2, 2).load_state_dict({"weight": 3, "bias": ones(2)}), RuntimeError, r"size mismatch for weight: .*\(\), .*\(2, 2\)"),
    (lambda: nn.Linear(2, 2).load_state_dict(None), TypeError, "expected a dict of names and Tensors, got NoneType"),
    (lambda: nn.ModuleList([3]), TypeError, "expected a Module or None, got int"),
    (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), ValueError, "'a.b'"),
    (lambda: nn.Linear(2, 2).to(cr.int64), TypeError, "Module.to: .* got chainrule.int64"),
    (lambda: nn.Linear(2, 2).train("yes"), ValueError, "train: mode must be True or False, got 'yes'"),
    (lambda: nn.Linear(2, 2).register_buffer("weight", ones(2)), (KeyError, ValueError), "'weight'"),
    (lambda: setattr(nn.Linear(2, 2), "weight", ones(2, 2)), TypeError, "cannot assign a Tensor as 'weight'"),
    (lambda: nn.utils.vector_to_parameters(ones(3), [ones(2)]), ValueError, r"2 elements, got shape \(3,\)"),
    (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2), "x"), ValueError, "Linear has no parameter or buffer 'x'"),
]  # fmt: skip

EVERY = [
    pytest.param(*row, id=f"{family}-{i}")
    for family, rows in (
        ("channels", CHANNELS),
        ("sequences", SEQUENCES),
        ("losses", LOSSES),
        ("optimizers", OPTIMIZERS),
        ("modules", MODULES),
    )
    for i, row in enumerate(rows)
]


@pytest.mark.parametrize(("call", "error", "words"), EVERY)
def test_what_is_wrong_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_optimizer_keeps_its_state_when_another_is_refused():
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = ones(2)
    optimizer.step()
    for state in (saved(lr=-1), saved({0: {"momentum_buffer": ones(3)}}), {"state": {}, "param_groups": []}):
        with pytest.raises(ValueError, match="SGD"):
            optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1, 1]
