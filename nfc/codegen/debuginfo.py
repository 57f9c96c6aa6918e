"""Debug metadata from which LLVM makes BTF: types of maps, events, params; lines of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from nfc import __version__
from nfc.syntax.source import Source

# What our programs use of struct __sk_buff, and its size (uapi/linux/bpf.h): a declaration
# without a definition makes the verifier note that it cannot tell the argument's size.
SK_BUFF = (
    ("len", 0), ("mark", 8), ("priority", 32), ("ingress_ifindex", 36), ("hash", 68),
    ("data", 76), ("data_end", 80),
)  # fmt: skip
SK_BUFF_SIZE = 192


class DebugInfo:
    """Metadata nodes of one module, made on demand.

    Paths are base names, and the source text is in the metadata: the object depends on what was
    compiled, not on where.
    """

    def __init__(self, module: ir.Module, source: Source) -> None:
        """Begin the compile unit of `source`."""
        self.module = module
        self.file = self._node(
            "DIFile",
            {"filename": source.base_name, "directory": "", "source": source.text},
        )
        self._ints: dict[tuple[str, int], Any] = {}
        self._typedefs: dict[str, Any] = {}
        # Lists that `finish` fills: llvmlite hashes nodes by their operands, so a node may not
        # change, or become part of a cycle, before all others are made.
        self._late: list[tuple[ir.MDValue, list[Any]]] = []
        self._globals: list[Any] = []
        self.unit = self.module.add_debug_info(
            "DICompileUnit",
            {
                "language": ir.DIToken("DW_LANG_C99"),
                "file": self.file,
                "producer": f"nfc {__version__}",
                "isOptimized": True,
                "runtimeVersion": 0,
                "emissionKind": ir.DIToken("FullDebug"),
                "globals": self._late_list(self._globals),
            },
            is_distinct=True,
        )
        self.module.add_named_metadata("llvm.dbg.cu", self.unit)
        for flag, value in (("Dwarf Version", 4), ("Debug Info Version", 3)):
            i32 = ir.IntType(32)
            self.module.add_named_metadata(
                "llvm.module.flags", [i32(2), ir.MetaDataString(self.module, flag), i32(value)]
            )

    def _node(self, kind: str, operands: dict[str, Any], *, distinct: bool = False) -> Any:
        return self.module.add_debug_info(kind, operands, is_distinct=distinct)

    def _late_list(self, items: list[Any]) -> ir.MDValue:
        node = ir.MDValue(self.module, [], name=str(len(self.module.metadata)))
        self._late.append((node, items))
        return node

    def finish(self) -> None:
        """Complete the lists; call it once, when all else is made."""
        for node, items in self._late:
            node.operands = tuple(items)

    # ---- types ------------------------------------------------------------------------------

    def integer(self, name: str, bits: int) -> Any:
        """An unsigned integer type of 8, 16, 32 or 64 bits."""
        key = (name, bits)
        if key not in self._ints:
            encoding = "DW_ATE_signed" if name == "int" else "DW_ATE_unsigned"
            self._ints[key] = self._node(
                "DIBasicType", {"name": name, "size": bits, "encoding": ir.DIToken(encoding)}
            )
        return self._ints[key]

    def array(self, element: Any, count: int, element_bits: int) -> Any:
        """`element[count]`."""
        sub = self._node("DISubrange", {"count": count})
        return self._node(
            "DICompositeType",
            {
                "tag": ir.DIToken("DW_TAG_array_type"),
                "baseType": element,
                "size": element_bits * count,
                "elements": self.module.add_metadata([sub]),
            },
        )

    def pointer(self, to: Any) -> Any:
        """A pointer to a type (None: void)."""
        return self._node(
            "DIDerivedType",
            {"tag": ir.DIToken("DW_TAG_pointer_type"), "baseType": to, "size": 64},
        )

    def named(self, name: str, size: int) -> Any:
        """The language's type `name` of `size` bytes, as a typedef that tools can recognise."""
        if name not in self._typedefs:
            if name == "ipv6" or name.startswith("bytes"):
                base = self.array(self.integer("unsigned char", 8), size, 8)
            else:
                base = self.integer(
                    {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "__u64"}[size],
                    size * 8,
                )
            self._typedefs[name] = self._node(
                "DIDerivedType",
                {
                    "tag": ir.DIToken("DW_TAG_typedef"),
                    "name": name,
                    "file": self.file,
                    "line": 0,
                    "baseType": base,
                },
            )
        return self._typedefs[name]

    def struct(self, name: str, fields: Sequence[tuple[str, Any, int, int]], size: int) -> Any:
        """A struct of `size` bytes; fields are (name, type, byte offset, bytes)."""
        members = [
            self._node(
                "DIDerivedType",
                {
                    "tag": ir.DIToken("DW_TAG_member"),
                    "name": field,
                    "file": self.file,
                    "line": 0,
                    "baseType": type_,
                    "size": length * 8,
                    "offset": offset * 8,
                },
            )
            for field, type_, offset, length in fields
        ]
        operands: dict[str, Any] = {
            "tag": ir.DIToken("DW_TAG_structure_type"),
            "file": self.file,
            "line": 0,
            "size": size * 8,
            "elements": self.module.add_metadata(members),
        }
        if name:
            operands["name"] = name
        return self._node("DICompositeType", operands)

    # ---- variables and functions ------------------------------------------------------------

    def variable(self, variable: ir.GlobalVariable, type_: Any) -> None:
        """Give a global variable its type."""
        node = self._node(
            "DIGlobalVariable",
            {
                "name": variable.name,
                "scope": self.unit,
                "file": self.file,
                "line": 0,
                "type": type_,
                "isLocal": False,
                "isDefinition": True,
            },
            distinct=True,
        )
        expression = self._node(
            "DIGlobalVariableExpression",
            {"var": node, "expr": self._node("DIExpression", {})},
        )
        self._globals.append(expression)
        variable.set_metadata("dbg", expression)

    def function(self, function: ir.Function, line: int) -> Any:
        """Give a function `int f(struct __sk_buff *skb)` its type; returns the scope for lines."""
        u32 = self.integer("unsigned int", 32)
        fields = [(name, u32, offset, 4) for name, offset in SK_BUFF]
        context = self.pointer(self.struct("__sk_buff", fields, SK_BUFF_SIZE))
        types = self.module.add_metadata([self.integer("int", 32), context])
        signature = self._node("DISubroutineType", {"types": types})
        arguments: list[Any] = []
        scope = self._node(
            "DISubprogram",
            {
                "name": function.name,
                "scope": self.file,
                "file": self.file,
                "line": line,
                "type": signature,
                "scopeLine": line,
                "spFlags": ir.DIToken("DISPFlagDefinition | DISPFlagOptimized"),
                "unit": self.unit,
                "retainedNodes": self._late_list(arguments),
            },
            distinct=True,
        )
        # The kernel wants a name for every argument (btf_func_check, kernel/bpf/btf.c).
        arguments.append(
            self._node(
                "DILocalVariable",
                {
                    "name": "skb",
                    "arg": 1,
                    "scope": scope,
                    "file": self.file,
                    "line": line,
                    "type": context,
                },
            )
        )
        function.set_metadata("dbg", scope)
        return scope

    def location(self, scope: Any, line: int, column: int = 0) -> Any:
        """A place in the source."""
        return self._node("DILocation", {"line": line, "column": column, "scope": scope})
