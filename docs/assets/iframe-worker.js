// A page that was opened from disk may not start a worker, and the search of this site runs in one. Here it runs in a
// hidden frame instead, which the theme's search knows as an IFrameWorker: it then asks this page where it lies.
"use strict";

(() => {
  if (location.protocol !== "file:") return;

  /** Run a script in a frame, and resolve when it is done. */
  const run = (inner, url) =>
    new Promise((done, failed) => {
      const script = inner.document.createElement("script");
      script.src = url;
      script.addEventListener("load", done);
      script.addEventListener("error", () => failed(new Error(`not loaded: ${url}`)));
      inner.document.body.append(script);
    });

  class FrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = (this.inner = this.frame.contentWindow);
      // what a script finds in a worker
      inner.importScripts = async (...urls) => {
        for (const one of urls) await run(inner, one);
      };
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.ready = run(inner, url);
      this.ready.catch((error) => this.dispatchEvent(new ErrorEvent("error", { error })));
    }

    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  }

  window.IFrameWorker = window.Worker = FrameWorker;
})();
