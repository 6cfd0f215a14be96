// Runs discord-digital-twin and acts as its users: one JSON request a line on standard input, one JSON answer a line on
// standard output. Ends with its input. The first argument is the directory of the installed packages.
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const entry = path.join(process.argv[2], 'discord-digital-twin/dist/index.js')
const { DigitalDiscord } = await import(pathToFileURL(entry).href)
const discord = new DigitalDiscord({
  guild: { name: 'Guild' },
  channels: [{ name: 'one', type: 0 }, { name: 'two', type: 0 }],
  users: [{ username: 'Ann' }, { username: 'Bob' }],
})
await discord.start()

const channels = await discord.prisma.channel.findMany()
const users = await discord.prisma.user.findMany({ where: { bot: false } })
const id = (rows, field, name) => rows.find((row) => row[field] === name).id
answer({
  api: `http://127.0.0.1:${discord.port}/api`,
  gateway: discord.gatewayUrl,
  token: discord.botToken,
  bot: discord.botUserId,
  one: id(channels, 'name', 'one'),
  two: id(channels, 'name', 'two'),
  ann: id(users, 'username', 'Ann'),
  bob: id(users, 'username', 'Bob'),
})

const acts = {
  say: async ({ channel, user, text }) => discord.channel(channel).user(user).sendMessage({ content: text }),
  thread: async ({ channel, message, name }) => {
    const url = `http://127.0.0.1:${discord.port}/api/v10/channels/${channel}/messages/${message}/threads`
    const headers = { authorization: `Bot ${discord.botToken}`, 'content-type': 'application/json' }
    return (await fetch(url, { method: 'POST', headers, body: JSON.stringify({ name }) })).json()
  },
  messages: async ({ channel }) => {
    const messages = await discord.channel(channel).getMessages()
    return { messages: messages.filter((it) => it.author.id === discord.botUserId).map((it) => it.content) }
  },
  typed: async ({ channel }) => ({ times: discord.getTypingEvents({ channelId: channel }).length }),
  command: async ({ channel, user, name }) => {
    const { id } = await discord.channel(channel).user(user).runSlashCommand({ name })
    const { type, data, messageId } = await discord.channel(channel).waitForInteractionAck({ interactionId: id })
    return { id, type, data, messageId }
  },
  commands: async () => ({
    names: (await discord.prisma.applicationCommand.findMany()).map((command) => command.name),
  }),
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  try {
    answer(await acts[request.do](request))
  } catch (error) {
    answer({ failed: String(error) })
  }
}
await discord.stop()
process.exit(0)

function answer(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}
