// Copy buttons: shown only where a script can copy.
"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) continue;
  const label = button.textContent;
  const spoken = button.ariaLabel;
  const say = (text, aloud) => {
    button.textContent = text;
    button.ariaLabel = aloud;
  };
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("Copied", "Copied");
    } catch {
      getSelection().selectAllChildren(source);
      say("Press Ctrl+C", "Press Ctrl+C");
    }
    setTimeout(() => say(label, spoken), 2000);
  });
}
