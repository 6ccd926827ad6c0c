// Opens a notebook at the cell that its address names: /lab/tree/a.ipynb#cell-id=x
//
// JupyterLab heeds the fragment only where the notebook is open before the address is followed, and
// a page that is just being loaded has none open. Written by hand as what a build would make of it:
// an object that hands out one module. It imports nothing, so it fits every version since 3.
(() => {
  const { hash, pathname } = window.location; // before JupyterLab changes them
  const path = decodeURIComponent(pathname.split('/tree/')[1] ?? '');

  const activate = app => {
    const shell = app.shell;
    const open = async () => {
      const widget = shell.currentWidget;
      if (widget?.context?.path === path) {
        shell.currentChanged.disconnect(open);
        await Promise.all([widget.context.ready, widget.revealed]);
        widget.setFragment(hash);
      }
    };
    if (hash && path) {
      shell.currentChanged.connect(open);
      open();
    }
  };

  const plugin = { id: 'nightmill-open-at:plugin', autoStart: true, activate };
  const container = { init: () => {}, get: async () => () => plugin };
  (window._JUPYTERLAB ??= {})['nightmill-open-at'] = container;
})();
