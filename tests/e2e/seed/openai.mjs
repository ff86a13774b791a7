import Portkey from 'portkey-ai';

// Initialize the Portkey client
const portkey = new Portkey({
    apiKey: "PORTKEY_API_KEY",  // Replace with your Portkey API key
    virtualKey: "VIRTUAL_KEY",   // The OpenAI virtual key
    baseURL: "http://127.0.0.1:8787/v1"
});

// Function to generate a text completion
async function getTextCompletion() {
    const completion = await portkey.completions.create({
        prompt: "Say this is a test",
        model: "gpt-3.5-turbo-instruct",
    });

    return completion;
}

const response = await getTextCompletion();
console.log(response);
