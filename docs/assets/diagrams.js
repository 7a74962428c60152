// Draws the pages' diagrams by the copy of mermaid that scripts/build_site.py puts beside this file.
const diagrams = document.querySelectorAll(".diagram");
if (diagrams.length > 0) {
  const script = document.createElement("script");
  script.src = new URL("mermaid.tiny.js", import.meta.url).href;
  script.addEventListener("load", async () => {
    const dark = document.body.dataset.mdColorScheme === "slate";
    mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "neutral" });
    await mermaid.run({ nodes: diagrams });
  });
  document.head.append(script);
}
