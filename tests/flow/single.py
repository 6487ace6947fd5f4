"""Projects of one kernel."""

KERNEL = """\
[tool.aot-build]
package = "demo"
targets = ["cpu"]
{more}
[[tool.aot-build.kernels]]
name = "{name}"
backend = "{backend}"
source = "{source}"
{keys}
configs = [{{ n = 1 }}]
"""
SHELL = """\
import subprocess

def make(out_dir, target, n):
    script = '{script}'
    subprocess.run(["sh", "-c", script, "sh", out_dir], check=True, cwd=__file__.rpartition("/")[0])
"""


def reasons(summary):
    return [miss["reason"] for miss in summary["misses"]]


def text_of(project):
    (content,) = (
        b for name, b in project.artifacts().items() if not name.endswith((".py", "json"))
    )
    return content.decode()
