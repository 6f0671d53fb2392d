"""The graph for TensorBoard's graph tab, written with tensorboardX."""

import importlib.util

NEEDS = "to_tensorboard needs tensorboardX: pip install tensorboardX"


def write(graph, folder):
    """Write `graph` as an event file into `folder`. Modules become scopes; each node has an attribute for what is known of it."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise RuntimeError(NEEDS)
    from tensorboardX import FileWriter
    from tensorboardX.proto import (
        attr_value_pb2,
        event_pb2,
        graph_pb2,
        node_def_pb2,
        tensor_shape_pb2,
        versions_pb2,
    )

    names = scoped_names(graph)
    inputs = {}
    for edge in graph.edges:
        if not edge.recurrent:
            inputs.setdefault(edge.target, []).append(names[edge.source])
    nodes = []
    for node in graph.nodes:
        dims = [
            tensor_shape_pb2.TensorShapeProto(
                dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
            )
            for shape in node.shapes
        ]
        attributes = {
            "_output_shapes": attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue(shape=dims))
        }
        for key, text in described(node).items():
            attributes[key] = attr_value_pb2.AttrValue(s=text.encode())
        nodes.append(
            node_def_pb2.NodeDef(
                name=names[node.id],
                op=node.operation or node.kind,
                input=inputs.get(node.id, ()),
                attr=attributes,
            )
        )
    definition = graph_pb2.GraphDef(node=nodes, versions=versions_pb2.VersionDef(producer=22))
    writer = FileWriter(str(folder))
    writer.add_event(event_pb2.Event(graph_def=definition.SerializeToString()))
    writer.close()


def scoped_names(graph):
    """{id: "fc1/linear_3"}: the modules as scopes, and a name that is nobody else's."""
    names = {}
    for node in graph.nodes:
        scope = node.module.replace(".", "/")
        own = "".join(
            c if c.isalnum() or c in "_." else "_" for c in node.name or node.operation or node.kind
        )
        names[node.id] = f"{scope + '/' if scope else ''}{own}_{node.id}"
    return names


def described(node):
    """What is known of a node, as {key: text}."""
    found = {
        "dtype": ", ".join(node.dtypes),
        "backward": node.backward,
        "source": node.source,
        "code": node.code,
    }
    found |= {
        "values": node.values,
        "gradients": node.gradients,
        "stats": node.stats,
        "gradient_stats": node.gradient_stats,
    }
    found["saved_bytes"] = node.saved_bytes or None
    return {key: str(value) for key, value in found.items() if value and value != [None]}
