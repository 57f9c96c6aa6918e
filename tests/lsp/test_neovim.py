"""The set-up of docs/editors.md, in a real Neovim without a screen."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "editors.md").read_text()
SETUP = re.findall(r"^```lua\n(.*?)^```", PAGE, re.S | re.M)
# What the page's `0.8 or later` has and Debian's 0.7 has not.
BEFORE = """
vim.g.do_filetype_lua = 1
if vim.lsp.start == nil then
  vim.lsp.start = function(config)
    local id = vim.lsp.start_client(config)
    vim.lsp.buf_attach_client(0, id)
  end
end
"""
ASK = """
vim.cmd("filetype on")
vim.cmd("edit a.nf")
local said = {}
vim.wait(20000, function() return #vim.diagnostic.get(0) > 0 end, 20)
said.diagnostics = vim.diagnostic.get(0)
local function ask(method, params)
  params.textDocument = { uri = vim.uri_from_bufnr(0) }
  for _, answer in pairs(vim.lsp.buf_request_sync(0, method, params, 10000) or {}) do
    return answer.result
  end
end
said.hover = ask("textDocument/hover", { position = { line = 2, character = 10 } })
said.definition = ask("textDocument/definition", { position = { line = 2, character = 18 } })
said.completion = ask("textDocument/completion", { position = { line = 2, character = 35 } })
local edits = ask("textDocument/formatting", { options = { tabSize = 4, insertSpaces = true } })
vim.lsp.util.apply_text_edits(edits, 0, "utf-16")
said.formatted = vim.api.nvim_buf_get_lines(0, 0, -1, false)
local file = io.open("said.json", "w")
file:write(vim.json.encode(said))
file:close()
vim.cmd("qa!")
"""
PROGRAM = """use dm
endpoint f {
    when srh has DM as dm and   dm.version == 1 { set dm.session = far forward }
    otherwise   forward  # 𝔸 comment
}
"""


def test_neovim_shows_what_the_server_says(tmp_path: Path) -> None:
    nvim = shutil.which("nvim")
    if nvim is None:
        pytest.skip("no nvim here")
    assert len(SETUP) == 1
    (tmp_path / "a.nf").write_text(PROGRAM)
    (tmp_path / "test.lua").write_text(BEFORE + SETUP[0] + ASK)
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [nvim, "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", "luafile test.lua"],
        cwd=tmp_path,
        env={**os.environ, **home, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr.strip() == ""
    said = json.loads((tmp_path / "said.json").read_text())
    (wrong,) = said["diagnostics"]
    assert (wrong["lnum"], wrong["col"]) == (2, PROGRAM.splitlines()[2].index("far"))
    assert wrong["message"] == "nothing is called 'far'"
    assert "srh" in said["hover"]["contents"]["value"]
    assert said["definition"][0]["uri"].endswith("/dm.nf")
    assert "version" in {offer["label"] for offer in said["completion"]}
    assert said["formatted"][3:5] == [
        "    when srh has DM as dm and dm.version == 1 {",
        "        set dm.session = far",
    ]
