// Starts `nfc lsp` and hands it to the editor.
"use strict";

const { commands, window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const settings = workspace.getConfiguration("nfc");
  const command = settings.get("command", "nfc");
  const args = ["lsp", "--kernel", settings.get("kernel", "6.1")];
  client = new LanguageClient(
    "nfc",
    "nfc",
    { command, args },
    {
      documentSelector: [{ language: "nfc" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.nf") },
    },
  );
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(
      `'${command} ${args.join(" ")}' does not start: ${error}. It needs pygls: pip install pygls`,
    );
  }
}

async function stop() {
  const ending = client;
  client = undefined;
  if (ending?.isRunning()) {
    await ending.stop();
  }
}

async function restart() {
  await stop();
  await start();
}

async function activate(context) {
  context.subscriptions.push(
    commands.registerCommand("nfc.restart", restart),
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("nfc")) {
        return restart();
      }
    }),
  );
  await start();
}

module.exports = { activate, deactivate: stop };
