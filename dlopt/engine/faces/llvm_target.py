"""LLVM's code generator for this processor."""

from __future__ import annotations

import functools
import threading
from typing import Any

lock = threading.RLock()
"""Held by who compiles: LLVM's engine is one, and takes no two threads."""


class Target:
    """This processor's code generator, and the modules it keeps alive."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        self.half = bool(features.get("f16c") or features.get("fullfp16"))
        self.machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
        )
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.machine)

    def compile(self, name: str, source: str, vectorize: bool = True) -> int:
        """The address of the function `name` of the module `source`; whether its loops are to become vectors."""
        import llvmlite.binding as llvm

        module = llvm.parse_assembly(source)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.loop_unrolling = vectorize
        passes = llvm.create_pass_builder(self.machine, options)
        passes.getModulePassManager().run(module, passes)
        self.engine.add_module(module)
        self.engine.finalize_object()
        return self.engine.get_function_address(name)


def fetch(b: Any, place: Any) -> None:
    """Have the processor bring the 64 bytes about `place` from memory, while it does something else."""
    from llvmlite import ir

    word, name = ir.IntType(32), "llvm.prefetch.p0"
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType(), word, word, word])
    b.call(b.module.globals.get(name) or ir.Function(b.module, signature, name), [place, word(0), word(3), word(1)])


_target = functools.cache(Target)


def target() -> Target:
    """The code generator of this process."""
    with lock:
        return _target()
