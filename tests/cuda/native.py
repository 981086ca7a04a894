"""The NVVM IR that numba-cuda makes of a kernel, compiled for this CPU and run with one thread of the system per CUDA thread.

What a simulator in Python cannot show is seen here: the compiler's own types, and threads that really run at the same time.
Not seen are NVVM's optimiser, contraction to fused multiply-adds, and the order of memory.  Uses private functions of
numba-cuda, whose version is pinned in the extra ``gpucheck``.  ``LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS=0`` must be set
before Numba is imported.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import llvmlite.binding as ll
import numpy as np

from gapkit._cuda.kernels import KERNELS, signature

from .launchers import checked

_SHIM = r"""
#include <pthread.h>
#include <math.h>
#include <stdlib.h>
static __thread int tid, cta; static int ntid, ncta; static pthread_barrier_t bar;
int gk_tid_x(void){return tid;} int gk_ctaid_x(void){return cta;} int gk_ntid_x(void){return ntid;}
int gk_nctaid_x(void){return ncta;}
#define YZ(n,v) int gk_##n##_y(void){return v;} int gk_##n##_z(void){return v;}
YZ(tid,0) YZ(ctaid,0) YZ(ntid,1) YZ(nctaid,1)
void gk_barrier0(void){pthread_barrier_wait(&bar);}
#define M1(n) double gkm_##n(double x){return n(x);}
M1(sqrt) M1(exp) M1(floor)
double gkm_fmax(double x,double y){return fmax(x,y);}
static void(*K)(void*); static void*A; static int whole;
static void*work(void*q){tid=(int)(long)q;for(cta=0;cta<ncta;cta++){K(A);if(whole)pthread_barrier_wait(&bar);}return 0;}
int gk_launch(void*f,void*a,int g,int b,int rev,int together){pthread_t*t=malloc(b*sizeof*t);K=(void(*)(void*))f;A=a;
 ncta=g;ntid=b;whole=together;
 pthread_barrier_init(&bar,0,b);
 for(long i=0;i<b;i++)if(pthread_create(&t[i],0,work,(void*)(rev?b-1-i:i)))return 1;
 for(int i=0;i<b;i++)pthread_join(t[i],0);free(t);return 0;}
"""


class _Shim:
    def __init__(self):
        folder = Path(tempfile.mkdtemp())
        (folder / "s.c").write_text(_SHIM)
        command = ["gcc", "-O2", "-fPIC", "-shared", "-pthread", str(folder / "s.c"), "-o", str(folder / "s.so"), "-lm"]
        subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(folder / "s.so"))


_shim = None


def shim():
    global _shim
    _shim = _shim or _Shim()
    return _shim.library


class Native:
    """A kernel on this CPU; called as ``native[blocks, threads](*arguments)``."""

    def __init__(self, function, types, cc=(9, 0)):
        import numba.cuda.compiler as compiler
        import numba.cuda.dispatcher as dispatcher

        ll.initialize_native_target()
        ll.initialize_native_asmprinter()
        self.types = types
        machine = ll.Target.from_default_triple().create_target_machine(opt=2)
        with mock.patch.object(dispatcher, "get_current_device", return_value=SimpleNamespace(compute_capability=cc)):
            library, _ = compiler._compile_pyfunc_with_fixup(
                function, types, debug=None, lineinfo=False, device=False, fastmath=False, cc=cc, opt=None, abi="numba",
                abi_info=None, forceinline=False, launch_bounds=None, lto=False,
            )  # fmt: skip
        head = f'target triple = "{ll.get_default_triple()}"\ntarget datalayout = "{machine.target_data}"\n'
        module, symbols = None, set()
        for text in library.llvm_strs:
            text = re.sub(r"^target .*$", "", text, flags=re.M)
            text = re.sub(r'@"?llvm\.nvvm\.read\.ptx\.sreg\.(\w+)\.(\w)"?', r"@gk_\1_\2", text)
            text = re.sub(r'@"?llvm\.nvvm\.barrier0"?', "@gk_barrier0", text)
            text = re.sub(r'@"?__nv_(\w+)"?', r"@gkm_\1", text)
            text = re.sub(r'^@"?llvm\.used"?.*$|^![\w.]*annotations.*$', "", text, flags=re.M)
            foreign = set(re.findall(r"llvm\.nvvm\.[\w.]+", text))
            if foreign:
                raise NotImplementedError(f"nothing stands for {sorted(foreign)} on a CPU")
            symbols |= set(re.findall(r"@(gkm?_\w+)", text))
            part = ll.parse_assembly(head + text)
            if module is None:
                module = part
            else:
                module.link_in(part)
        (kernel,) = [f for f in module.functions if not f.is_declaration and f.linkage.name == "external"][:1]
        kinds = [str(a.type) for a in kernel.arguments]
        self.n = len(kinds)
        wrapper = head + f'declare void @"{kernel.name}"({",".join(kinds)})\ndefine void @gk_wrap(ptr %a){{\n'
        for k, kind in enumerate(kinds):
            wrapper += f"%p{k}=getelementptr i64, ptr %a, i64 {k}\n%v{k}=load {kind}, ptr %p{k}\n"
        values = ",".join(f"{kind} %v{k}" for k, kind in enumerate(kinds))
        wrapper += f'call void @"{kernel.name}"({values})\nret void\n}}\n'
        module.link_in(ll.parse_assembly(wrapper))
        module.verify()
        for symbol in symbols:
            ll.add_symbol(symbol, ctypes.cast(getattr(shim(), symbol), ctypes.c_void_p).value)
        passes = ll.create_pass_builder(machine, ll.create_pipeline_tuning_options(2))
        passes.getModulePassManager().run(module, passes)
        self.engine = ll.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()
        self.address = self.engine.get_function_address("gk_wrap")

    def __getitem__(self, shape):
        def call(*arguments, reverse=False, together=False):
            slots = []
            for value in arguments:
                if isinstance(value, np.ndarray):
                    slots += [0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
                elif isinstance(value, (float, np.floating)):
                    slots.append(int(np.float64(value).view(np.int64)))
                else:
                    slots.append(int(value))
            assert len(slots) == self.n
            slots = np.array(slots, np.int64)
            pointers = ctypes.c_void_p(self.address), ctypes.c_void_p(slots.ctypes.data)
            assert shim().gk_launch(*pointers, int(shape[0]), int(shape[1]), int(reverse), int(together)) == 0

        return call


class NativeLauncher:
    """A launcher for `gapkit._cuda.launch.launched_by`.

    Blocks have at most ``threads`` threads; kernels do not know their number, and few threads start in little time.
    """

    def __init__(self, threads=4, *, reverse=False):
        self.threads, self.reverse, self.compiled, self.calls = threads, reverse, {}, []

    def __call__(self, name, environments, n, *arguments):
        kernel = KERNELS[name]
        if name not in self.compiled:
            self.compiled[name] = Native(kernel.function, signature(kernel.arguments))
        blocks = environments if kernel.per_environment else -(-n // self.threads)
        values = checked(name, (n, *arguments))
        scalars = [float(v) if code == "f" else v for v, code in zip(values, kernel.arguments.split(), strict=True)]
        self.compiled[name][blocks, self.threads](*scalars, reverse=self.reverse)
        self.calls.append(name)
