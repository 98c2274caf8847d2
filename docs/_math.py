"""Formulas as MathML, which browsers draw by themselves: pages need no script from elsewhere."""

from docutils import nodes
from docutils.utils.math import latex2mathml


def setup(app):
    """Offer the renderer "mathml"."""
    app.add_html_math_renderer("mathml", (_draw_inline, None), (_draw_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _draw_inline(writer, node):
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _draw_block(writer, node):
    writer.body.append(f'<div class="math">{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode
