// Loaded before discord-digital-twin, which listens on all interfaces: nothing of a test may.
const net = require('node:net')
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  const done = rest.find((argument) => typeof argument === 'function')
  return listen.call(this, { port: Number(port) || 0, host: '127.0.0.1' }, done)
}
