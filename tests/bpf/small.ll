; What nfc itself makes, in small: an endpoint function with a ring buffer, params, debug metadata.
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpfel"

@events = global { ptr, ptr } zeroinitializer, section ".maps", align 8, !dbg !10
@params = global [2 x i64] [i64 7, i64 9], section ".data", align 8, !dbg !20
@_license = global [4 x i8] c"GPL\00", section "license", align 1

define i32 @end_small(ptr %skb) section "lwt_seg6local" !dbg !30 {
  %slot = alloca i64, align 8, !dbg !40
  %second = getelementptr i8, ptr @params, i64 8, !dbg !40
  %value = load volatile i64, ptr %second, align 8, !dbg !40
  store i64 %value, ptr %slot, align 8, !dbg !40
  %failed = call i64 inttoptr (i64 130 to ptr)(ptr @events, ptr %slot, i64 8, i64 0), !dbg !41
  ret i32 0, !dbg !42
}

!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!3, !4}
!0 = distinct !DICompileUnit(language: DW_LANG_C99, file: !1, producer: "test", isOptimized: true, emissionKind: FullDebug, globals: !2)
!1 = !DIFile(filename: "small.nf", directory: "", source: "endpoint end_small {\0A    emit value\0A    forward\0A}\0A")
!2 = !{!10, !20}
!3 = !{i32 2, !"Dwarf Version", i32 4}
!4 = !{i32 2, !"Debug Info Version", i32 3}
!5 = !DIBasicType(name: "int", size: 32, encoding: DW_ATE_signed)
!6 = !DIBasicType(name: "__u64", size: 64, encoding: DW_ATE_unsigned)

!10 = !DIGlobalVariableExpression(var: !11, expr: !DIExpression())
!11 = distinct !DIGlobalVariable(name: "events", scope: !0, file: !1, type: !12, isLocal: false, isDefinition: true)
!12 = !DICompositeType(tag: DW_TAG_structure_type, file: !1, size: 128, elements: !{!13, !14})
!13 = !DIDerivedType(tag: DW_TAG_member, name: "type", file: !1, baseType: !15, size: 64)
!14 = !DIDerivedType(tag: DW_TAG_member, name: "max_entries", file: !1, baseType: !16, size: 64, offset: 64)
!15 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !17, size: 64)
!16 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !18, size: 64)
!17 = !DICompositeType(tag: DW_TAG_array_type, baseType: !5, size: 864, elements: !{!DISubrange(count: 27)})
!18 = !DICompositeType(tag: DW_TAG_array_type, baseType: !5, size: 131072, elements: !{!DISubrange(count: 4096)})

!20 = !DIGlobalVariableExpression(var: !21, expr: !DIExpression())
!21 = distinct !DIGlobalVariable(name: "params", scope: !0, file: !1, type: !22, isLocal: false, isDefinition: true)
!22 = !DICompositeType(tag: DW_TAG_array_type, baseType: !6, size: 128, elements: !{!DISubrange(count: 2)})

!30 = distinct !DISubprogram(name: "end_small", scope: !1, file: !1, line: 1, type: !31, scopeLine: 1, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !0, retainedNodes: !{!35})
!31 = !DISubroutineType(types: !{!5, !33})
!33 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !34, size: 64)
!34 = !DICompositeType(tag: DW_TAG_structure_type, name: "__sk_buff", file: !1, flags: DIFlagFwdDecl)
!35 = !DILocalVariable(name: "skb", arg: 1, scope: !30, file: !1, line: 1, type: !33)
!40 = !DILocation(line: 2, column: 5, scope: !30)
!41 = !DILocation(line: 2, column: 10, scope: !30)
!42 = !DILocation(line: 3, column: 5, scope: !30)
