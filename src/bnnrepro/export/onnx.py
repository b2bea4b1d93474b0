"""``model.onnx``: the network with its binary weights at one bit each, in standard operators.

torch exports the network with normalisation before it. Then every binary parameter becomes

    bits (uint8) -> Cast -> Gather from a table of 256 x 8 signs -> Reshape

Neither torch's nor onnxscript's ``optimize`` is used: they fold BatchNorm into the weights, which
are not +-1 then.
"""

import importlib.util
import warnings
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnnrepro.errors import UserError
from bnnrepro.export import gate
from bnnrepro.export.gate import Compute, Expected, refuse
from bnnrepro.export.packed import pack, unpack
from bnnrepro.export.subject import Subject

BITS = ".bits"


def why_not() -> str | None:
    """Return why nothing can be exported here, with its cure; None if it can."""
    if not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        return "needs onnx and onnxscript: pip install 'bnnrepro[export]'"
    old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9)
    return f"needs torch 2.9 or later, not {torch.__version__}" if old else None


class _Deployed(nn.Module):
    """A network with the normalisation of raw inputs."""

    mean: Tensor
    std: Tensor

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.network, self.subject = subject.model, subject
        for name, value in zip(("mean", "std"), subject.statistics(), strict=True):
            self.register_buffer(name, value)

    def forward(self, inputs: Tensor) -> Tensor:
        values = inputs.float() / 255 if self.subject.form == "uint8" else inputs
        if self.subject.about:
            values = (values - self.mean) / self.std
        outputs: Tensor = self.network(values)
        return outputs


def write(path: Path, subject: Subject, expected: Expected) -> tuple[str, float]:
    """Write the file and check it; return its line and the largest difference.

    Raises:
        UserError: torch cannot export the network, a binary parameter is not in its graph, or the
            file computes something else.
    """
    from onnx import helper, numpy_helper

    proto, state = _exported(subject), subject.model.state_dict()
    inputs = [value for value in proto.graph.input if value.name == "input"]
    graph = helper.make_graph([], "bnnrepro", inputs, proto.graph.output)
    table = unpack(torch.arange(256, dtype=torch.uint8), (256, 8)).numpy()
    graph.initializer.extend([*proto.graph.initializer, numpy_helper.from_array(table, "signs")])
    for name in subject.binary:
        _add_unpacking(graph, name, pack(state[name]), state[name].shape)
    graph.node.extend(proto.graph.node)
    for entry in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    versions = {"opset_imports": proto.opset_import, "ir_version": proto.ir_version}
    made = helper.make_model(graph, producer_name="bnnrepro", **versions)
    helper.set_model_props(made, {key: str(value) for key, value in subject.origin.items()})
    path.write_bytes(made.SerializeToString())
    try:
        opset = _check(path, subject)
        compute, program, most = runner(path, subject)
    except UserError:
        raise
    except Exception as error:  # of the checker, or of ONNX Runtime, which have many kinds
        refuse(path.name, "invalid", " ".join(str(error).split())[:200])
    worst = gate.check(path.name, subject, expected, compute, most)
    inside = ", normalised inside" if subject.about else ""
    only = "" if most is None else f" on {most} samples"
    sizes = ", ".join(map(str, subject.shape))
    return f"; input {subject.form} (N, {sizes}){inside}; opset {opset}; by {program}{only}", worst


def _exported(subject: Subject) -> Any:
    """Return the graph as a protocol buffer; the binary parameters are inputs of it."""
    from onnxscript import ir, optimizer

    example = torch.cat([subject.raw(subject.batches[0][:1])] * 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                _Deployed(subject).eval(),
                (example,),
                dynamo=True,
                optimize=False,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["input"],
                output_names=["output"],
            )
    except Exception as error:  # torch's exporter raises many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        name = type(subject.model).__name__
        raise UserError("model", name, f"torch cannot export it to ONNX: {reason}") from error
    graph = program.model.graph
    for name in subject.binary:  # as inputs, so that folding leaves them alone
        value = graph.initializers.pop(f"network.{name}", None)
        if value is None:
            raise UserError(name, "missing", "must be in the ONNX graph; does the network use it?")
        value.const_value, value.name = None, name
        graph.inputs.append(value)
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    return ir.to_proto(program.model)


def _add_unpacking(graph: Any, name: str, bits: Tensor, shape: torch.Size) -> None:
    """Add the nodes that make a tensor of its bits, and their constants."""
    from onnx import TensorProto
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array

    def constant(value: Any, suffix: str) -> str:
        graph.initializer.append(from_array(torch.as_tensor(value).numpy(), f"{name}{suffix}"))
        return f"{name}{suffix}"

    def node(operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        graph.node.append(make_node(operator, inputs, [output], **attributes))
        return output

    index = node("Cast", constant(bits, BITS), output=f"{name}.index", to=TensorProto.INT32)
    last, count = node("Gather", "signs", index, output=f"{name}.eights"), prod(shape)
    if count % 8:
        last = node("Reshape", last, constant([-1], ".all"), output=f"{name}.flat")
        ends = constant([0], ".first"), constant([count], ".count")
        last = node("Slice", last, *ends, output=f"{name}.cut")
    node("Reshape", last, constant([*shape], ".shape"), output=name)


def _check(path: Path, subject: Subject) -> int:
    """Read a file back; return its opset.

    Raises:
        UserError: other than exactly the binary parameters are packed, or bits differ.
    """
    import onnx

    onnx.checker.check_model(str(path), full_check=True)
    proto, state = onnx.load(str(path)), subject.model.state_dict()
    bits = {
        tensor.name.removesuffix(BITS): torch.tensor(onnx.numpy_helper.to_array(tensor))
        for tensor in proto.graph.initializer
        if tensor.name.endswith(BITS)
    }
    if different := sorted(bits.keys() ^ set(subject.binary)):
        refuse(path.name, different[0], "exactly the binary parameters must be packed")
    for name, found in bits.items():
        if found.dtype != torch.uint8 or not torch.equal(found, pack(state[name])):
            refuse(path.name, name, "its bits differ as read back")
    return int(proto.opset_import[0].version)


def runner(path: Path, subject: Subject) -> tuple[Compute, str, int | None]:
    """Return what computes a file's outputs, its name, and how many samples it can do in time."""
    run: Any
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        run = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        ).run
        program, most = f"ONNX Runtime {onnxruntime.__version__}", None
    else:
        import onnx
        from onnx.reference import ReferenceEvaluator

        run, program, most = (
            ReferenceEvaluator(str(path)).run,
            f"onnx {onnx.__version__}",
            gate.FEW,
        )

    def compute(inputs: Tensor) -> Tensor:
        return torch.from_numpy(run(None, {"input": subject.raw(inputs).numpy()})[0])

    return compute, program, most
