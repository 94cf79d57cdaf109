// Printing, and so a PDF: page.css leaves out what is not the transcript, and all of its rows are in the document meanwhile.

import { printing } from "./state.js";

addEventListener("beforeprint", () => (printing.value = true));
addEventListener("afterprint", () => (printing.value = false));

/** Open the browser's dialog, which has a PDF among its printers. */
export const printTranscript = () => print();
