// The page comes together. Details open for print.

onChange(["a", "b"], drawTable);
tableControls();
drawTable();
compareControls();
chartSection();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
